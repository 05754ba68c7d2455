"""Each private name of torch does what ptapp relies on: a new version of torch that changes one fails here first."""

import ast
import re
from io import BytesIO
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torchvision.models import mnasnet0_5

from ptapp_core.loop.optim import OPTIMIZERS
from ptapp_core.machine import torch_private

SOURCE = Path(torch_private.__file__)


def tensors() -> list[torch.Tensor]:
    return [torch.tensor([3.0, 4.0]), torch.tensor([[6.0], [8.0]])]


def test_every_name_has_a_test() -> None:
    tested = {node.attr for node in ast.walk(ast.parse(Path(__file__).read_text())) if isinstance(node, ast.Attribute)}
    assert set(torch_private.__all__) <= tested


def test_the_names_for_many_tensors_are_those_for_one() -> None:
    assert [float(norm) for norm in torch_private.norm_of_each(tensors())] == [5.0, 10.0]
    assert [float(norm) for norm in torch_private.norm_of_each(tensors(), float("inf"))] == [4.0, 8.0]
    changed, others = tensors(), [torch.zeros(2), torch.ones(2, 1)]
    torch_private.multiply_each(changed, 2.0)
    assert changed[0].tolist() == [6.0, 8.0]
    torch_private.lerp_each(changed, others, 0.5)
    assert changed[0].tolist() == [3.0, 4.0]
    torch_private.copy_each(changed, others)
    assert changed[1].tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e38, 0.0])
def test_the_flag_goes_up_for_values_that_are_not_finite_and_no_tensor_changes(value: float) -> None:
    flag, given = torch.zeros(()), [torch.tensor([1.0, value]), torch.tensor(2.0)]
    torch_private.raise_where_not_finite(flag, given, torch.ones(()))
    assert bool(flag) == (not torch.tensor(value).isfinite())
    assert given[0][0] == 1.0
    assert given[1] == 2.0
    torch_private.raise_where_not_finite(flag, [torch.ones(2)], torch.ones(()))
    assert bool(flag) == (not torch.tensor(value).isfinite())  # it stays up


@pytest.mark.parametrize("rule", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD])
def test_a_fused_optimizer_leaves_the_weights_alone_while_the_flag_is_up(rule: type[torch.optim.Optimizer]) -> None:
    weight, flag = nn.Parameter(torch.ones(3)), torch.ones(())
    optimizer = rule([weight], lr=0.1, fused=True)  # type: ignore[call-arg]
    torch_private.skip_where_raised(optimizer, flag)
    weight.grad = torch.ones(3)
    optimizer.step()
    assert weight.tolist() == [1.0, 1.0, 1.0]
    flag.zero_()
    optimizer.step()
    assert (weight < 1.0).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_that_does_not_load_the_compiler_computes_the_same_bits(name: str) -> None:
    rule = getattr(torch.optim, OPTIMIZERS[name].__name__)
    weights = [nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4)) for _ in range(2)]
    optimizers = [rule([weights[0]], lr=0.1), torch_private.without_compiler(rule)([weights[1]], lr=0.1)]
    for step in range(3):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            optimizer.zero_grad()
            (weight * torch.arange(12).view(3, 4)).sin().sum().mul(step + 1.0).backward()
            optimizer.step()
    assert torch.equal(*weights)
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    assert type(optimizers[1]).__module__ == rule.__module__


def test_the_first_call_of_a_compiled_model_alone_is_wrapped() -> None:
    model, seen = nn.Linear(2, 2), []
    model.compile(backend="eager")
    torch_private.call_first(model, lambda call: lambda *args: seen.append("first") or call(*args))
    x = torch.ones(1, 2)
    assert torch.equal(model(x), model(x))
    assert seen == ["first"]


def test_every_batch_normalisation_is_one() -> None:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    assert all(isinstance(kind(2), torch_private.BatchNorm) for kind in kinds)
    assert not isinstance(nn.GroupNorm(1, 2), torch_private.BatchNorm)


def test_every_convolution_is_one() -> None:
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    assert all(isinstance(kind(1, 1, 1), torch_private.ConvNd) for kind in kinds)
    assert [kind(1, 1, 1).transposed for kind in kinds] == [False] * 3 + [True] * 3
    assert not isinstance(nn.Linear(1, 1), torch_private.ConvNd)


def test_the_dispatch_mode_sees_a_tensor_before_it_is_made() -> None:
    seen = []

    class Look(torch_private.DispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append((func._schema.name, [each.name for each in func._schema.arguments][:1], args))
            return func(*args, **(kwargs or {}))

    with Look():
        torch.empty(3, 2)
    assert seen[0] == ("aten::empty", ["size"], ([3, 2],))


@pytest.mark.filterwarnings("ignore")  # torch warns about names of its own
def test_an_lstm_is_exported_for_texts_of_any_length() -> None:
    model = nn.LSTM(2, 3, batch_first=True).eval().requires_grad_(False)
    length = torch.export.Dim("length", min=2, max=64)
    with torch_private.keep_loops():
        program = torch.export.export(model, (torch.ones(1, 5, 2),), dynamic_shapes=({1: length},))
    buffer = BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    again = torch.export.load(buffer).module()
    for steps in (2, 9):
        x = torch.randn(1, steps, 2)
        assert torch.allclose(again(x)[0], model(x)[0], atol=1e-6)


def test_mnasnet_loads_a_state_dict_without_version_numbers() -> None:
    state = dict(mnasnet0_5().state_dict())
    net = mnasnet0_5()
    torch_private.load_any_version(net)
    net.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_no_other_file_uses_a_private_name_of_torch() -> None:
    for path in SOURCE.parents[4].glob("*/src/**/*.py"):
        if path == SOURCE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            words = (node.module or "").split(".") if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Attribute) and re.fullmatch(r"[\w.]+", ast.unparse(node)):
                words = ast.unparse(node).split(".")
            private = [word for word in words[1:] if re.fullmatch(r"_(?!_)\w+", word)]
            assert not (words[:1] in (["torch"], ["nn"]) and private), f"{path}:{node.lineno}: {'.'.join(words)}"


def test_the_number_of_collectives_is_that_of_those_begun() -> None:
    assert torch_private.collectives_made() == 0
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        assert torch_private.collectives_made() == 0
        dist.all_reduce(torch.ones(1))
        dist.all_gather_object([None], "word")  # the length, then the bytes
        assert torch_private.collectives_made() == 3
        dist.all_reduce(torch.ones(1), group=dist.new_group([0]))
        assert torch_private.collectives_made() == 4
    finally:
        dist.destroy_process_group()
    assert torch_private.collectives_made() == 0


def test_a_tensor_is_cut_in_stripes_and_put_together_again() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_tensor

    rows = torch.arange(12.0)
    dist.init_process_group(backend="fake", rank=1, world_size=2)  # each rank is alone with its part
    try:
        mesh = init_device_mesh("cpu", (2,))
        for count, expected in ((1, [6, 7, 8, 9, 10, 11]), (3, [2, 3, 6, 7, 10, 11])):
            place = torch_private.cut_in_stripes(count)
            cut = distribute_tensor(rows, mesh, [place], src_data_rank=None)
            assert cut.to_local().tolist() == expected
            assert not place.is_replicate()
            assert cut.shape == rows.shape
    finally:
        dist.destroy_process_group()
