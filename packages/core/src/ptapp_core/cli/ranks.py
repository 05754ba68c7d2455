"""Several processes of one job on this machine: `--nproc N` is torchrun on a free port."""

import logging
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from ptapp_core.cli.app import SAID
from ptapp_core.cli.child import child_command
from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import STOPS


def relaunch(nproc: int, *, remedy: str = "continue from the last checkpoint with --resume") -> bool:
    """Runs this command again as `nproc` ranks and returns True when they are done; False if there is no need to.

    The ranks are processes of torch's elastic launcher, which is what `torchrun` starts: under torchrun itself, on one
    or many nodes, the ranks are there already and the job simply begins.

    Args:
        remedy: what to do where a rank was killed, for the message.

    Raises:
        SystemExit: with the exit code of the ranks, of which one has said why.
        UserError: a rank was killed.
    """
    if nproc == 1 or "WORLD_SIZE" in os.environ:
        return False
    with TemporaryDirectory(prefix="ptapp-") as logs:
        _launch(nproc, logs, remedy)
    return True


def _launch(nproc: int, logs: str, remedy: str) -> None:
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
        _, *rank = child_command(sys.argv[1:], folder=logs)
        elastic_launch(config, sys.executable)(*rank)
    except SignalException as stop:  # this process was asked to stop, and its ranks with it
        raise SystemExit(_said(logs) or 128 + stop.sigval) from None
    except ChildFailedError as error:
        if code := _said(logs):
            raise SystemExit(code) from None
        _, failure = error.get_first_failure()
        raise UserError(f"a rank ended with exit code {failure.exitcode}; {remedy}") from None
    finally:
        logging.disable(logged)


def _said(logs: str) -> int | None:
    """The exit code of the rank that said why it stopped."""
    file = next(Path(logs).rglob(SAID), None)
    return int(file.read_text()) if file else None
