"""A job outlives its console."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_a_job_goes_on_without_a_console(tmp_path: Path) -> None:
    script = Path(__file__).with_name("console_job.py")
    environment = {**os.environ, "TERM": "xterm"}
    done = subprocess.run([sys.executable, script, tmp_path], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    consoles = ("closed_pipe", "full_disk", "closed_terminal", "nothing")
    assert json.loads(done.stdout) == {console: [0, True] for console in consoles}
