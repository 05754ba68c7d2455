"""Several processes of one job: `--nproc`, `--nnodes` and `--max-restarts` are torchrun within this command."""

import logging
import os
import signal
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from ptapp_core.cli.child import child_command
from ptapp_core.errors import UserError, counted
from ptapp_core.machine.runtime import STOPS
from ptapp_core.machine.terminal import SAID, tell
from ptapp_core.settings.ranks import Ranks, machines

_MEETING = 900  # seconds that machines wait for as many as they need
_LAST_CALL = 10  # seconds that they wait for more
_SAVING = 120  # seconds that ranks have to end their step or evaluation, and save, when they are asked to stop


def relaunch(ranks: Ranks, *, remedy: str = "continue from the last checkpoint with --resume") -> bool:
    """Runs this command again as several ranks and returns True when they are done; False if there is no need to.

    The ranks are processes of torch's elastic launcher, which is what `torchrun` starts: under torchrun itself, on one
    or many nodes, the ranks are there already and the job simply begins.

    Args:
        remedy: what to do where a rank was killed, for the message.

    Raises:
        SystemExit: with the exit code of the ranks, of which one has said why.
        UserError: a rank was killed, or the machines did not meet.
    """
    if ranks.one or "WORLD_SIZE" in os.environ:
        return False
    with TemporaryDirectory(prefix="ptapp-") as logs:
        _launch(ranks, logs, remedy)
    return True


def _launch(ranks: Ranks, logs: str, remedy: str) -> None:
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError, RendezvousTimeoutError
    from torch.distributed.launcher.api import elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks.nproc)))
    # Else ranks that start again read in torch's store where the ranks before them were, and wait for those.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else a rank shows its C++ frames where another has gone
    needed = counted(machines(ranks.nnodes).least, "machine")
    config = _configuration(ranks, logs)
    if ranks.rdzv:
        tell(f"waiting at {ranks.rdzv} for {needed}")
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
    except RendezvousTimeoutError:
        raise UserError(
            f"--rdzv {ranks.rdzv}: fewer than {needed} came within {_MEETING} s; start the same command on all of them"
        ) from None
    except RendezvousError:
        raise UserError(
            f"--rdzv {ranks.rdzv}: cannot be reached, or has ended; look there, and start all machines again"
        ) from None
    except AttributeError as error:  # torch has no result where the job ended without this machine
        if "is_failed" not in str(error):
            raise
        tell(f"the job at {ranks.rdzv} has ended without this machine")
    finally:
        logging.disable(logged)


def _configuration(ranks: Ranks, logs: str) -> Any:
    """What torch's launcher is told."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    # One that is ignored, as SIGHUP is under `nohup`, stays so.
    handled = [number.name for number in STOPS if signal.getsignal(number) != signal.SIG_IGN]
    least, most = machines(ranks.nnodes)
    return LaunchConfig(
        min_nodes=least,
        max_nodes=most,
        nproc_per_node=ranks.nproc,
        run_id=ranks.job if ranks.rdzv else uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=ranks.rdzv or "localhost:0",
        rdzv_configs={"join_timeout": _MEETING, "last_call_timeout": _LAST_CALL},
        local_addr=_address_towards(ranks.rdzv) if ranks.rdzv else None,
        max_restarts=ranks.max_restarts,
        shutdown_timeout=_SAVING,
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        signals_to_handle=",".join(handled),
    )


def _address_towards(meeting: str) -> str:
    """The address of this machine from which it reaches HOST:PORT, which is where the others reach it.

    Raises UserError where nothing leads there.
    """
    host, _, port = meeting.rpartition(":")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, int(port)))  # of a datagram socket: no packet is sent
            own = str(probe.getsockname()[0])
    except (OSError, OverflowError) as error:
        raise UserError(f"--rdzv {meeting}: cannot be reached ({error})") from None
    return host if own.startswith("127.") else own  # a machine may know its own name as 127.0.1.1


def _said(logs: str) -> int | None:
    """The exit code of the rank that said why it stopped, in the last of the attempts."""
    attempts = Path(logs).glob("*/attempt_*")
    last = max(attempts, key=lambda folder: int(folder.name.rpartition("_")[2]), default=None)
    return int((last / SAID).read_text()) if last is not None and (last / SAID).exists() else None
