"""Several processes of one job on this machine: `--nproc N` is torchrun on a free port.

Run as a program it is one rank: `python -m ptapp_core.cli.ranks LAUNCHER LOGS WORDS...`.
"""

import logging
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from threading import Thread
from uuid import uuid4

from ptapp_core.cli.app import SAID
from ptapp_core.cli.main import main
from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import STOPS

_PATIENCE = 20.0  # seconds that a rank without a launcher has to save itself


def relaunch(nproc: int) -> bool:
    """Runs this command again as `nproc` ranks and returns True when they are done; False if there is no need to.

    The ranks are processes of torch's elastic launcher, which is what `torchrun` starts: under torchrun itself, on one
    or many nodes, the ranks are there already and the job simply begins.

    Raises:
        SystemExit: with the exit code of the ranks, of which one has said why.
        UserError: a rank was killed.
    """
    if nproc == 1 or "WORLD_SIZE" in os.environ:
        return False
    with TemporaryDirectory(prefix="ptapp-") as logs:
        _launch(nproc, logs)
    return True


def _launch(nproc: int, logs: str) -> None:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    # One that is ignored, as SIGHUP is under `nohup`, stays so.
    handled = [number.name for number in STOPS if signal.getsignal(number) != signal.SIG_IGN]
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=nproc,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        signals_to_handle=",".join(handled),
    )
    logged = logging.root.manager.disable
    logging.disable(logging.ERROR)  # the launcher would report each signal and exit code at length
    try:
        rank = ("-P", "-m", "ptapp_core.cli.ranks", str(os.getpid()), logs)
        elastic_launch(config, sys.executable)(*rank, *sys.argv[1:])
    except SignalException as stop:  # this process was asked to stop, and its ranks with it
        raise SystemExit(_said(logs) or 128 + stop.sigval) from None
    except ChildFailedError as error:
        if code := _said(logs):
            raise SystemExit(code) from None
        _, failure = error.get_first_failure()
        raise UserError(
            f"a rank ended with exit code {failure.exitcode}; go on from the last checkpoint with --resume"
        ) from None
    finally:
        logging.disable(logged)


def _said(logs: str) -> int | None:
    """The exit code of the rank that said why it stopped."""
    file = next(Path(logs).rglob(SAID), None)
    return int(file.read_text()) if file else None


def _rank(launcher: int, logs: str) -> int:
    Thread(target=_end_with, args=(launcher, logs), daemon=True).start()
    code = main()
    if os.getppid() != launcher:
        _remove(logs)
    return code


def _end_with(launcher: int, logs: str) -> None:
    """Waits for the launcher's end, after which nobody would end this rank: it saves itself, or is killed."""
    while os.getppid() == launcher:
        time.sleep(1.0)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # it has nothing to save yet
        _remove(logs)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    _remove(logs)
    os.kill(os.getpid(), signal.SIGKILL)


def _remove(logs: str) -> None:
    """Removes the folder of the launcher, first its name: no rank that ends later speaks there again (`cli.SAID`)."""
    gone = f"{logs}-gone"
    with suppress(OSError):
        os.rename(logs, gone)
        rmtree(gone, ignore_errors=True)


if __name__ == "__main__":
    _, parent, folder, *words = sys.argv
    sys.argv[1:] = words
    sys.exit(_rank(int(parent), folder))
