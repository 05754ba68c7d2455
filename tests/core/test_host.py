"""A program that imports ptapp stays its own: nothing in it changes, and its children live on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_importing_every_module_and_making_the_public_objects_changes_nothing_in_the_program(tmp_path: Path) -> None:
    script = Path(__file__).with_name("host.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, script, tmp_path], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
    assert (tmp_path / "child").read_text() == "done"  # it was not killed when the program ended
