"""Changes to a model that trade time for memory or the other way round, in place: no key of its state is renamed."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from ptapp_core.errors import UserError
from ptapp_core.runtime import Runtime


def compile_in_place(model: nn.Module, say: Callable[[str], None]) -> None:
    """torch.compile without renaming a key; `say` is told how long the first call took."""
    started: list[float] = []

    def before(*_: object) -> None:
        started.append(time.monotonic())

    def after(*_: object) -> None:
        say(f"compiled in {time.monotonic() - started[0]:.1f} s (forward pass; the backward follows in the first step)")
        for hook in hooks:
            hook.remove()

    hooks = [model.register_forward_pre_hook(before), model.register_forward_hook(after)]
    model.compile()


def synchronise_batchnorm(model: nn.Module, runtime: Runtime) -> nn.Module:
    """Batch statistics over the samples of all ranks, as on a single one; raises UserError where torch has none."""
    if runtime.device.type != "cuda":
        raise UserError(f"--sync-batchnorm: torch has it on CUDA alone, not on {runtime.device.type}; leave it out")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def recompute_activations(blocks: Iterable[nn.Module]) -> None:
    """Activation checkpointing, in place: each block keeps its input alone and is run again in the backward pass.

    Batch normalisation must not count a batch twice, so the second run leaves its running statistics alone: the weights
    and statistics after a step are the same bits as without. (Chen et al. 2016, "Training deep nets with sublinear
    memory cost".)
    """
    for block in blocks:
        contexts = partial(_first_and_second_run, block)
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)


def _first_and_second_run(block: nn.Module) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    return nullcontext(), _StatisticsHeld(block)


class _StatisticsHeld(AbstractContextManager[None]):
    def __init__(self, block: nn.Module) -> None:
        norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self._norms = [(norm, norm.momentum) for norm in norms if norm.num_batches_tracked is not None]

    def __enter__(self) -> None:
        for norm, _ in self._norms:
            norm.momentum = 0.0  # running = 1 * running + 0 * batch

    def __exit__(self, *_: object) -> None:
        for norm, momentum in self._norms:
            norm.momentum = momentum
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked -= 1
