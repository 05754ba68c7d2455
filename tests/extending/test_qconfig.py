"""The program of docs/qconfig.md prints what the page says, while torch has `QConfig`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HOME = Path(__file__).parents[2]
FORMS = ["eager, dynamic", "eager, static", "FX, static", "FX, QAT", "ptapp, static (ONNX)", "ptapp, QAT (ONNX)"]


def test_each_form_is_a_third_of_the_size_or_little_more_and_as_accurate() -> None:
    pytest.importorskip("torch.ao.quantization.quantize_fx", reason="this version of torch has no QConfig any more")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, str(HOME / "examples" / "qconfig.py")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    rows = {line[:22].strip(): line[22:].replace("%", "").split() for line in done.stdout.splitlines()[1:]}
    assert list(rows) == ["fp32", *FORMS]
    accuracy, _, size = map(float, rows.pop("fp32"))
    assert accuracy > 90
    for name, row in rows.items():
        right, equal, small = map(float, row)
        assert right > accuracy - 1, name
        assert equal > 95, name
        assert small < 0.4 * size, name
