"""How soon a job starts: what it does not load."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from contract.row import Row
from contract.rows import FIRST

pytestmark = pytest.mark.slow

TRAIN = """
import sys
from ptapp_core.cli.main import main
sys.exit(main(sys.argv[1:]) or ("torch's compiler was loaded" if "torch._dynamo" in sys.modules else 0))
"""


@pytest.mark.parametrize("row", FIRST, ids=str)
def test_a_job_that_compiles_nothing_does_not_load_torchs_compiler(row: Row, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TRAIN, *row.train(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_answers_does_not_load_what_draws() -> None:
    answering = [
        f"ptapp_{domain}.{name}" for domain in ("vision", "nlp", "rl", "audio") for name in ("predict", "predictor")
    ]
    names = [name for name in answering if find_spec(name)]
    assert len(names) > 5
    code = f"import sys; from importlib import import_module; [*map(import_module, {names})]; "
    code += "sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
