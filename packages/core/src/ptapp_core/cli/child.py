"""A `ptapp` command that another one started, and that ends, saved, when that one is gone: a rank, or one of `--seeds`.

Run as a program: `python -m ptapp_core.cli.child PARENT FOLDER WORDS...`.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from shutil import rmtree
from threading import Thread

from ptapp_core.cli.main import main

_PATIENCE = 20.0  # seconds that a child without its parent has to save itself


def child_command(words: Sequence[str], *, folder: str = "") -> list[str]:
    """What starts `ptapp WORDS` as a child of this process; it removes the `folder` if it ends after this process."""
    return [sys.executable, "-P", "-m", "ptapp_core.cli.child", str(os.getpid()), folder, *words]


def run_child(parent: int, folder: str) -> int:
    """Runs the command of `sys.argv` and returns its exit code."""
    Thread(target=end_with, args=(parent, folder), daemon=True).start()
    code = main()
    if os.getppid() != parent:
        remove(folder)
    return code


def end_with(parent: int, folder: str) -> None:
    """Waits for the parent's end, after which nobody would end this process: it saves itself, or is killed.

    The `folder`, if it has a name, is removed.
    """
    while os.getppid() == parent:
        time.sleep(1.0)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # it has nothing to save yet
        remove(folder)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    remove(folder)
    os.kill(os.getpid(), signal.SIGKILL)


def remove(folder: str) -> None:
    """Removes the parent's folder, first its name: no child that ends later speaks there again (`terminal.SAID`)."""
    if not folder:
        return
    gone = f"{folder}-gone"
    with suppress(OSError):
        os.rename(folder, gone)
        rmtree(gone, ignore_errors=True)


if __name__ == "__main__":
    _, launcher, given, *command = sys.argv
    sys.argv[1:] = command
    sys.exit(run_child(int(launcher), given))
