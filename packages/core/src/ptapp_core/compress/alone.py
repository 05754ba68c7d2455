"""A process that does nothing else, so that its times and its memory are those of what is measured."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ptapp_core.errors import UserError
from ptapp_core.runs.run import StopRequest

_LOOK = 0.1  # seconds between two looks at whether the command is asked to stop


def run_alone(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, with all that it starts.

    Raises UserError where this command is asked to stop (`runtime.STOPS`): nothing that was started here is left then.
    """
    pipe = subprocess.PIPE
    with (
        StopRequest() as stop,
        subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True) as child,
    ):
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    out, err = child.communicate(timeout=_LOOK)
                    return subprocess.CompletedProcess(words, child.returncode, out, err)
                if stop:
                    raise UserError("stopped, and nothing is kept: give the command again")
        finally:  # a session of its own: loaders and compilers of the child go with it
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why such a program failed, in a line."""
    if done.returncode < 0:
        return f"it was killed by signal {-done.returncode}, as happens when memory is short"
    return (done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"])[-1]
