"""What `--freeze` promises of a model: a part that is frozen as a whole is the same function after training."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from ptapp_core.data.loader import Batch
from ptapp_core.fit import forward_backward
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.loop.update import Update
from ptapp_core.machine.runtime import Runtime
from ptapp_core.task import Task

Call = tuple[tuple[Any, ...], dict[str, Any], Any]
"""What a part was called with, and what it answered."""


def some_parts(chosen: st.DataObject, model: nn.Module) -> list[str]:
    """Names of parts to freeze, which are not all of the model."""
    parts = [name for name, part in model.named_modules() if name and list(part.parameters())]
    frozen = chosen.draw(st.lists(st.sampled_from(parts), min_size=1, max_size=4, unique=True))
    assume(not all(key.startswith(_prefixes(frozen)) for key, _ in model.named_parameters()))
    return frozen


def check_frozen(task: Task, model: nn.Module, frozen: Sequence[str], batch: Batch) -> None:
    """Trains the task's model for two steps with the frozen parts, and checks that each is as it was."""
    torch.manual_seed(0)
    runtime = Runtime("cpu", "fp32")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = build_optimizer(model, "sgd", lr=0.1, freeze=frozen)
    update = Update(optimizer, runtime)
    task.train()
    copied = copy.deepcopy(model).train()  # as averaging does
    for other in (model, copied):
        assert other.training
        assert not any(inner.training for part in _whole(other).values() for inner in part.modules())
    with _Recorded(_whole(model)) as calls:
        task(batch)
    for _ in range(2):
        figures = forward_backward(task, [batch], runtime, update=update)[0]
        update.step(figures["loss"], 1.0)
    for key, value in model.state_dict().items():
        if key.startswith(_prefixes(frozen)):
            assert torch.equal(value, before[key]), key
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for name, (given, named, answer) in calls.items():
        again = _whole(model)[name](*given, **named)
        for one, other in zip(_tensors(answer), _tensors(again), strict=True):
            assert torch.equal(one, other), name


def _prefixes(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name}." for name in names)


def _whole(model: nn.Module) -> dict[str, nn.Module]:
    """The parts none of whose parameters learns."""
    return {
        name: part
        for name, part in model.named_modules()
        if list(part.parameters()) and not any(parameter.requires_grad for parameter in part.parameters())
    }


class _Recorded:
    """While it is entered, the first call of each part is kept under its name."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self._parts = parts
        self._handles: list[Any] = []

    def __enter__(self) -> dict[str, Call]:
        calls: dict[str, Call] = {}
        for name, part in self._parts.items():
            self._handles.append(part.register_forward_hook(self._keep(calls, name), with_kwargs=True))
        return calls

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    @staticmethod
    def _keep(calls: dict[str, Call], name: str) -> Callable[..., None]:
        def hook(part: nn.Module, given: tuple[Any, ...], named: dict[str, Any], answer: Any) -> None:
            calls.setdefault(name, copy.deepcopy(_detached((given, named, answer))))

        return hook


def _detached(value: Any) -> Any:
    return torch.utils._pytree.tree_map_only(Tensor, lambda each: each.detach().clone(), value)


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_flatten(value)[0] if isinstance(leaf, Tensor))
