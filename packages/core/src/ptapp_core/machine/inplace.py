"""Changes to a model in place: time traded for memory or the other way round, and parts that stay as they are."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import MethodType
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.torch_private import BatchNorm, call_first


def compile_in_place(model: nn.Module, say: Callable[[str], None]) -> None:
    """torch.compile without renaming a key; `say` gets how long the first call took."""
    model.compile()

    def timed(compiled: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.monotonic()
            output = compiled(*args, **kwargs)
            took = time.monotonic() - started
            say(f"compiled in {took:.1f} s (forward pass; the backward follows in the first step)")
            return output

        return call

    call_first(model, timed)


def synchronise_batchnorm(model: nn.Module, runtime: Runtime) -> None:
    """Batch statistics over the samples of all ranks, as on a single one; raises UserError where torch has none."""
    if runtime.device.type != "cuda":
        raise UserError(f"--sync-batchnorm: torch has it on CUDA alone, not on {runtime.device.type}; leave it out")
    nn.SyncBatchNorm.convert_sync_batchnorm(model)


def stay_in_eval(model: nn.Module, frozen: Iterable[nn.Parameter]) -> None:
    """Keeps each module all of whose parameters are frozen in eval mode, whatever `model.train()` says.

    Batch normalisation then keeps its running statistics, and dropout inside passes everything on: a frozen part is the
    same function after training. A module without parameters is part of the one that holds it.
    """
    known = {id(parameter) for parameter in frozen}
    for module in model.modules():
        own = list(module.parameters())
        if own and all(id(parameter) in known for parameter in own):
            module.train = MethodType(_eval_alone, module)  # type: ignore[method-assign]  # a deepcopy gets its own


def _eval_alone(module: nn.Module, mode: bool = True) -> nn.Module:
    return type(module).train(module, False)


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
        norms = [m for m in block.modules() if isinstance(m, BatchNorm)]
        self._held = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]

    def __enter__(self) -> None:
        for norm, _, _ in self._held:
            norm.momentum = 0.0  # running = 1 * running + 0 * batch
            norm.num_batches_tracked = None

    def __exit__(self, *_: object) -> None:
        for norm, momentum, batches in self._held:
            norm.momentum, norm.num_batches_tracked = momentum, batches
