"""How much memory a process may fill."""

import copy
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from ptapp_core.errors import UserError
from ptapp_core.loop.optim import OPTIMIZERS, build_optimizer
from ptapp_core.machine import memory


def test_the_least_of_all_limits_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_available", lambda: 3000)
    monkeypatch.setattr(memory, "_groups", lambda: [5000, 2000])
    monkeypatch.setattr(memory, "_limit", lambda: [])
    assert memory.free_memory() == 2000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory.free_memory() == 500
    monkeypatch.setattr(memory, "_groups", lambda: [-1])
    assert memory.free_memory() == 0


def test_a_group_leaves_what_it_and_those_above_allow(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("4:memory:/old\n0::/pod/box\n")
    for folder, limit in ((tmp_path / "pod", "9000"), (tmp_path / "pod" / "box", "max"), (tmp_path, "500")):
        folder.mkdir(exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("400\n")
        (folder / "memory.stat").write_text("anon 300\ninactive_file 50\n")
    assert memory._groups(tmp_path / "cgroup", tmp_path) == [8650, 150]
    assert memory._groups(tmp_path / "gone", tmp_path) == []


def test_a_limit_of_the_process_leaves_what_it_has_not_taken() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (2**36, before[1]))
        (left,) = memory._limit()
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert 2**35 < left < 2**36


def test_where_the_system_does_not_say_it_is_all_memory(tmp_path: Path) -> None:
    assert memory._available(tmp_path / "gone") > memory._available()
    (tmp_path / "meminfo").write_text("MemFree: 1 kB\nMemAvailable:    2048 kB\n")
    assert memory._available(tmp_path / "meminfo") == 2 * 2**20


@pytest.mark.parametrize("exponent", [0, 20, 40, 62, 80])
def test_a_layer_beyond_the_memory_is_refused_before_it_is_made(exponent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 2**27)
    if exponent <= 20:
        with memory.within_memory():
            nn.Linear(10, 2**exponent)
        return
    with pytest.raises(UserError, match=r"the model .*: make it smaller"), memory.within_memory():
        nn.Linear(10, 2**exponent)


def test_many_layers_that_fit_one_by_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([2**27, 2**26 - 1])
    monkeypatch.setattr(memory, "free_memory", lambda: next(left))
    with pytest.raises(UserError, match="make it smaller"), memory.within_memory():
        nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(100)))


def test_an_error_that_is_not_of_memory_passes() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory.within_memory():
        torch.zeros(2).view(3)


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_refused_exactly_where_its_tensors_do_not_fit(
    name: str, momentum: float, averaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Linear(30, 20), nn.BatchNorm1d(20), nn.Linear(20, 10))

    def build() -> torch.optim.Optimizer:
        return build_optimizer(model, name, lr=0.1, momentum=momentum, freeze=("2",), averaged=averaged)

    optimizer = build()
    model(torch.randn(4, 30)).sum().backward()
    optimizer.step()
    kept = [p.grad for p in model.parameters() if p.grad is not None]
    kept += [tensor for state in optimizer.state.values() for key, tensor in state.items() if key != "step"]
    kept += [*copy.deepcopy(model).state_dict().values()] if averaged else []
    needed = sum(tensor.nbytes for tensor in kept if isinstance(tensor, torch.Tensor))
    monkeypatch.setattr(memory, "free_memory", lambda: needed)
    build()
    monkeypatch.setattr(memory, "free_memory", lambda: needed - 1)
    with pytest.raises(UserError, match=f"training the model with --optimizer {name}.*: make it smaller"):
        build()
