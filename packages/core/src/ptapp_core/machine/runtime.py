"""Where a job runs: device, precision, ranks, random numbers."""

import atexit
import gc
import os
import platform
import random
import signal
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ptapp_core.errors import UserError
from ptapp_core.machine.groups import ranks_of_a_copy, refuse_other_groups
from ptapp_core.machine.random_state import RandomState
from ptapp_core.machine.watch import Watch

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""What asks a job to save itself and end: `kill`, Ctrl-C, a terminal that was closed, a scheduler before its limit."""

TIMEOUT = 1800.0
"""Seconds that a rank may keep the others waiting: longer than it takes to measure or to save most models."""

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def bf16_supported(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; a processor that only emulates it is slower than in fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpuinfo = Path("/proc/cpuinfo")
    if device.type != "cpu" or not cpuinfo.exists():
        return False
    for line in cpuinfo.read_text().splitlines():
        key, _, flags = line.partition(":")
        if key.strip() in ("flags", "Features"):  # x86, Arm
            return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags.split())
    return False


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA, else Apple's MPS, else the processor. Raises UserError for a device that is not there."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device: {name!r} is no device; use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda":
        index = local if device.index is None else device.index
        if index >= torch.cuda.device_count():
            found = torch.cuda.device_count()
            raise UserError(
                f"--device {name}: this machine has {found} CUDA devices that torch {torch.__version__} sees"
            )
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: this machine has no Metal device that torch sees")
    return device


class Runtime:
    """Device, precision, ranks and random numbers of one process.

    Under `torchrun` (or `--nproc`) every process makes one, and finds its rank in the environment. All methods do the
    right thing on a single process, so no caller asks how many there are. Making one changes nothing in the process;
    a command, whose process is its own, calls `set_up_process` next.

    Args:
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto (bf16 where the device has it, else fp32), fp32, bf16 or fp16 (with loss scaling).
        seed: of every generator; the same on each rank until `parallel` distinguishes them.
        deterministic: refuse operations whose result may differ between two runs; slower on a GPU.
        threads: number of threads of this process; None keeps torch's choice.
        sharded: ranks keep a share each of the weights, gradients and optimizer state, and not all of them.
        shard_ranks: how many ranks, one after the other, share a copy of all that; None: all. It divides their number.
        tensor_ranks: how many ranks, one after the other, compute each layer together. It divides their number.
        timeout: seconds that a rank may keep the others waiting (see `watch`).

    Raises:
        UserError: the device or the precision is not there, or nothing can be sharded.
    """

    def __init__(
        self,
        device: str = "auto",
        precision: str = "auto",
        *,
        seed: int = 0,
        deterministic: bool = False,
        threads: int | None = None,
        sharded: bool = False,
        shard_ranks: int | None = None,
        tensor_ranks: int = 1,
        timeout: float = TIMEOUT,
    ) -> None:
        self.device = choose_device(device)
        if precision == "auto":
            precision = "bf16" if bf16_supported(self.device) else "fp32"
        elif precision == "bf16" and not bf16_supported(self.device):
            raise UserError(f"--precision bf16: this {self.device.type} device does not compute in bfloat16; use fp32")
        self.precision = precision
        self._deterministic, self._threads = deterministic, threads
        self.group_timeout = timedelta(seconds=timeout + 60)  # torch's limit is beyond ours, which says more
        self._grouped = "WORLD_SIZE" in os.environ and not dist.is_initialized()
        if self._grouped:
            # Control messages (counts, stop flags, metrics) are host numbers: gloo carries them without a device sync.
            backend = "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=self.group_timeout)
            if self.device.type != "cuda":  # NCCL would wait here for the other ranks
                atexit.register(_leave_group)
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.watch = Watch(timeout) if self._grouped and self.world > 1 else None
        self.seed = seed
        self.tensor_ranks = tensor_ranks
        self.sharded = sharded or tensor_ranks > 1
        if tensor_ranks > 1:
            refuse_other_groups(self.world, tensor_ranks, precision)
            self.shard_ranks = tensor_ranks
        else:
            self.shard_ranks = ranks_of_a_copy(self.world, shard_ranks, precision) if sharded else 1
        self.random = RandomState(self.device)

    def set_up_process(self) -> Self:
        """Seeds the global generators of torch, NumPy and Python, and sets the threads, the device and determinism.

        All of these belong to the whole process, which is why the constructor leaves them alone.
        """
        torch.manual_seed(self.seed)
        np.random.seed(self.seed % 2**32)
        random.seed(self.seed)
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self._deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False
        if self.world > 1:  # it means dimensions of size 1, whose strides are of no account
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        return self

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and speaks to the user."""
        return self.rank == 0

    @property
    def data_ranks(self) -> int:
        """The ranks, or groups that compute each layer together, that have samples of their own."""
        return self.world // self.tensor_ranks

    @property
    def data_rank(self) -> int:
        """Which of them this rank is, or is in."""
        return self.rank // self.tensor_ranks

    @property
    def counts(self) -> bool:
        """Whether this rank's samples count: those of the others in its group are the same ones."""
        return self.rank % self.tensor_ranks == 0

    def share_random(self) -> None:
        """Gives all ranks of a group the random numbers of its first, as the group computes one thing together."""
        if self.tensor_ranks > 1:
            self.random.load_bytes(self.gather(self.random.as_bytes())[self.data_rank * self.tensor_ranks])

    @property
    def averaged_over(self) -> int:
        """What gradients are divided by as they travel: DistributedDataParallel gives means over ranks, shards sums."""
        return 1 if self.sharded else self.world

    def __str__(self) -> str:
        ranks = f", {self.world} ranks" if self.world > 1 else ""
        whose = "that" if self.shard_ranks == self.world else f"of which each {self.shard_ranks}"
        what = "share the weights" if self.tensor_ranks == 1 else "compute each layer together"
        ranks += f" {whose} {what}" if self.sharded else ""
        return f"{self.device} {self.precision}{ranks}"

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of forward passes: matrix products in the chosen precision, reductions in fp32."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, _DTYPES[self.precision])

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling for fp16, whose small gradients would round to zero; passes values through otherwise."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def place(self, model: M) -> M:
        """The model on the device; raises UserError where a layer of it does not compute there in the precision."""
        if self.precision == "fp16" and self.device.type == "cpu":
            for name, layer in model.named_modules():
                if isinstance(layer, nn.LSTM):  # oneDNN has it in fp32 and bf16
                    raise UserError(f"--precision fp16: no processor computes the LSTM {name} in it; give bf16 or fp32")
        return model.to(self.device)

    def to_device(self, batch: T) -> T:
        """Moves every tensor in a tensor, dict, list or tuple; on the processor it returns the batch itself."""
        if self.device.type == "cpu":
            return batch
        return map_tensors(batch, lambda tensor: tensor.to(self.device, non_blocking=True))

    def parallel(self, task: nn.Module) -> nn.Module:
        """The task as the loop calls it: itself, or under DistributedDataParallel, from where on ranks draw apart."""
        if self.world == 1:
            return task
        torch.manual_seed(self.seed + 1_000_003 * self.rank)
        devices = [self.device] if self.device.type == "cuda" else None
        model = nn.parallel.DistributedDataParallel(_Share(task), device_ids=devices)
        # After its first backward pass it sums gradients in other groups, and so in another order. A pass of zeros
        # puts that behind, so that the first step of a resumed job is the same bits as in one that never stopped.
        model(None)[0].backward()
        task.zero_grad(set_to_none=True)
        return model

    def total(self, *numbers: float) -> list[float]:
        """Each number summed over the ranks, in float64."""
        if self.world == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(sums)
        return sums.tolist()

    def norm(self, own: Tensor) -> Tensor:
        """The norm, float (), of what has the norm `own` on this rank: `own` itself, unless each rank has a share."""
        if not self.sharded:
            return own
        # Of all ranks, and not of a group that shares a copy, so that all scale their copies by the same bits.
        squares = own.square() * (self.shard_ranks / self.world)
        dist.all_reduce(squares)
        return squares.sqrt()

    def raise_together(self, flag: Tensor) -> None:
        """Raises a flag, float () of 0 or 1, on all ranks where it is up on one, if each has but a share to look at."""
        if self.sharded:
            dist.all_reduce(flag, dist.ReduceOp.MAX)

    def gather(self, value: T) -> list[T]:
        """The value of every rank, in order of rank, on every rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def refuse_unequal(self, facts: Mapping[str, str], remedy: str) -> None:
        """Raises UserError on all ranks where one of them has another fact than rank 0, and says which rank and fact.

        `facts` are by what the message calls them.
        """
        (first, expected), *others = self.gather((platform.node(), facts))
        for rank, (host, found) in enumerate(others, start=1):
            for name in {**expected, **found}:
                here, there = (of_rank.get(name, "not there") for of_rank in (expected, found))
                if here != there:
                    raise UserError(
                        f"{name} is {here} on rank 0 ({first}) and {there} on rank {rank} ({host}): {remedy}"
                    )

    def together(self, action: Callable[[], T]) -> list[T]:
        """What `action` returns on every rank; a UserError or OSError of one rank is raised on all of them."""
        if self.world == 1:
            return [action()]
        result, error = None, None
        try:
            result = action()
        except (UserError, OSError) as raised:
            error = raised
        answers = self.gather((result, error))
        for _, failure in answers:
            if failure is not None:
                raise failure
        return [answer for answer, _ in answers]  # type: ignore[misc]

    def on_main(self, action: Callable[[], T]) -> T:
        """What `action` returns on rank 0, which alone does it; its UserError or OSError is raised on all ranks."""
        answers: list[Any] = self.together(action if self.is_main else _nothing)
        answer: T = answers[0]
        return answer

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copies the tensors of rank 0, of any shape and dtype, into those of all ranks, in place."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def barrier(self) -> None:
        """Waits until every rank is here."""
        if self.world > 1:
            self.total(0.0)

    def close(self) -> None:
        """Leaves the process group that this runtime joined, when all ranks are done with it."""
        if self._grouped:
            self.barrier()
            _leave_group()


def _leave_group() -> None:
    """Ends the threads of the process group, if there is one: a rank that fails would end with a complaint of C++."""
    if dist.is_initialized():
        gc.collect()  # DistributedDataParallel holds on to the group in a cycle, and its threads must end first
        dist.destroy_process_group()


class _Share(nn.Module):
    """The module that DistributedDataParallel wraps: the task, or zero where this rank's share of a batch is empty.

    Shards are not padded, so the last batch of an epoch may leave a rank without a sample. It still takes part in the
    gradients' sum, with a zero that touches every parameter. So do the parameters that the task leaves out of a step.
    """

    def __init__(self, task: nn.Module) -> None:
        super().__init__()
        self.task: Any = task

    def forward(self, batch: Any) -> Any:
        if batch is None:
            return _zero_of(parameter for parameter in self.task.parameters() if parameter.requires_grad), 0, {}
        loss, units, figures = self.task(batch)
        resting = self.task.resting
        return (loss + _zero_of(resting) if resting else loss), units, figures


def _zero_of(parameters: Iterable[Tensor]) -> Tensor:
    """A zero that has every one of these parameters in its graph."""
    return torch.stack([parameter.sum() for parameter in parameters]).nan_to_num().sum() * 0.0


def outlive_stop_request(worker: int) -> None:
    """Makes this process, which serves a job, ignore Ctrl-C and the other requests, which often reach it as well.

    The job still needs it to end its step.
    """
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


_serving: "WeakKeyDictionary[BaseProcess, int]" = WeakKeyDictionary()


def end_with_job(processes: Iterable[BaseProcess]) -> None:
    """Kills these children of this process, if they still live, when it exits.

    A job that dies may leave them unclosed. Python would end them by SIGTERM, which they put off, and wait for ever.
    """
    _serving.update(dict.fromkeys(processes, os.getpid()))
    atexit.unregister(_kill_serving)
    atexit.register(_kill_serving)  # runs first, as the latest, so before those that wait


def _kill_serving() -> None:
    for process, parent in list(_serving.items()):
        if parent == os.getpid():  # a fork of this process has no say in them
            process.kill()


def _nothing() -> None:
    """The part of the other ranks in what rank 0 does alone."""


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A tensor, dict, list or tuple with each tensor, of any shape and dtype, changed; what is none stays."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: map_tensors(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(item, change) for item in value)
    return value
