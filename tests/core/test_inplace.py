"""Changes in place: the same keys and, where promised, the same bits."""

import copy
from functools import partialmethod

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.errors import UserError
from ptapp_core.machine.inplace import compile_in_place, recompute_activations, synchronise_batchnorm
from ptapp_core.machine.runtime import Runtime


def block(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(), nn.Dropout(0.2))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(block(1, 4), block(4, 4), nn.Flatten(), nn.Linear(4 * 64, 3))


def learn(model: nn.Module) -> list[float]:
    """A few steps of plain training, from the same data and the same draws of dropout."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(3):
        images = torch.randn(6, 1, 8, 8, generator=generator)
        loss = functional.cross_entropy(model(images), torch.arange(6) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def assert_same_bits(got: nn.Module, expected: nn.Module) -> None:
    assert got.state_dict().keys() == expected.state_dict().keys()
    for key, value in expected.state_dict().items():
        assert torch.equal(got.state_dict()[key], value), key


def test_recomputed_activations_give_the_same_weights_and_batch_statistics() -> None:
    plain, recomputed = network(), network()
    runs = []
    recomputed[0][0].register_forward_hook(lambda *_: runs.append(1))
    recompute_activations([recomputed[0], recomputed[1]])
    assert learn(recomputed) == learn(plain)
    assert len(runs) == 6  # forward and again in the backward pass, at each of three steps
    assert_same_bits(recomputed, plain)
    assert plain[0][1].num_batches_tracked == 3


def test_a_block_whose_statistics_are_frozen_stays_so_when_recomputed() -> None:
    plain, recomputed = network(), network()
    recompute_activations([recomputed[0], recomputed[1]])
    for model in (plain, recomputed):
        model[0][1].eval()
    assert learn(recomputed) == learn(plain)
    assert_same_bits(recomputed, plain)
    assert recomputed[0][1].num_batches_tracked == 0


def test_evaluation_runs_each_block_once_and_tells_the_same() -> None:
    plain, recomputed, images = network().eval(), network().eval(), torch.randn(2, 1, 8, 8)
    recompute_activations([recomputed[0]])
    with torch.no_grad():
        assert torch.equal(recomputed(images), plain(images))


def test_a_copy_of_a_model_with_recomputed_blocks_runs_its_own_weights() -> None:
    model, images = network().eval(), torch.randn(2, 1, 8, 8)
    recompute_activations([model[0], model[1]])
    averaged = copy.deepcopy(model)  # as torch's AveragedModel does
    before = model(images)
    with torch.no_grad():
        for parameter in averaged[:2].parameters():
            parameter.zero_()
    assert torch.equal(model(images), before)
    assert torch.equal(averaged(images), averaged[3].bias.expand(2, 3))


def test_compiling_renames_no_key_changes_no_result_and_says_once_how_long_it_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the whole way but the code generator, which takes a C++ compiler and its time
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    plain, x = copy.deepcopy(model), torch.randn(5, 3)
    said: list[str] = []
    compile_in_place(model, said.append)
    assert not said
    averaged = copy.deepcopy(model)
    for _ in range(2):
        torch.testing.assert_close(model(x), plain(x))
        torch.testing.assert_close(averaged(x), plain(x))
    assert len(said) == 1
    assert said[0].startswith("compiled in ")
    assert_same_bits(model, plain)
    gradients: list[Tensor] = []
    for module in (model, plain):
        module(x).sum().backward()
        gradients.append(module[0].weight.grad)
    torch.testing.assert_close(*gradients)


def test_synchronised_batch_statistics_are_refused_where_torch_has_none() -> None:
    with pytest.raises(UserError, match=r"--sync-batchnorm: .* cpu"):
        synchronise_batchnorm(network(), Runtime("cpu", "fp32", threads=1))
