"""Channels that are removed leave a network that computes what it did without them, or it is refused."""

import copy
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ptapp_core.compress.channels import MULTIPLE, remove_channels, zero_weights
from ptapp_core.errors import UserError
from ptapp_core.nn.widths import set_widths, widths_of


class Net(nn.Module):
    """(N, 1, H, W) to (N, 3), by a sum, a concatenation, groups of channels and a transposed convolution."""

    def __init__(self, width: int = 32, middle: Callable[[Tensor], Tensor] = torch.sigmoid) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.grouped = nn.Conv2d(width, width, 3, padding=1, groups=2, bias=False)
        self.norm, self.up = nn.BatchNorm2d(2 * width), nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.hidden, self.head = nn.Linear(width, 2 * width), nn.Linear(2 * width, 3)
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        y = self.middle(self.first(x))
        y = y + self.second(y)
        y = self.norm(torch.cat([self.depthwise(y), self.grouped(y)], 1))
        return self.head(self.hidden(self.up(y).relu().mean((2, 3))).relu())


def net(**options: Any) -> Net:
    """One whose normalisation has statistics and scales of its own."""
    torch.manual_seed(0)
    made = Net(**options)
    for tensor in (made.norm.weight.data, made.norm.bias.data, made.norm.running_mean):
        assert tensor is not None
        tensor.uniform_(0.5, 1.5)
    return made.eval()


@settings(derandomize=True, deadline=None, max_examples=12)
@given(share=st.floats(0.5, 0.999), width=st.sampled_from([16, 24, 32, 40]))
def test_a_layer_keeps_at_least_the_share_that_is_left_and_a_multiple_of_eight(share: float, width: int) -> None:
    made, x = net(width=width), torch.randn(2, 1, 8, 8)
    before = widths_of(made)
    remove_channels(made, x, share)
    after = widths_of(made)
    assert after.keys() == before.keys()
    assert after != before
    assert after["head"][1] == 3
    for name, sizes in after.items():
        if len(sizes) > 1 and name != "head":
            assert (1 - share) * before[name][1] - 1e-9 <= sizes[1] <= before[name][1]
            assert sizes[1] % MULTIPLE == 0
    rebuilt = net(width=width)
    set_widths(rebuilt, after)
    rebuilt.load_state_dict(made.state_dict())
    assert torch.equal(rebuilt(x), made(x))


@pytest.mark.parametrize("tenths", [3, 5, 6, 7, 9])
@pytest.mark.parametrize("width", [40, 56, 80, 160])
def test_a_layer_keeps_no_channel_more_than_the_next_multiple_of_eight(width: int, tenths: int) -> None:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv1d(1, width, 1), nn.Flatten(), nn.Linear(width * 4, 2))
    remove_channels(made, torch.randn(2, 1, 4), tenths / 10)
    assert widths_of(made)["0"][1] == MULTIPLE * math.ceil(Fraction(10 - tenths, 10) * width / MULTIPLE)


def test_a_share_that_removes_nothing_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"--share 0.1 removes nothing: layers keep multiples of 8 channels; give a lar"
    ):
        remove_channels(net(), torch.randn(2, 1, 8, 8), 0.1)


def test_the_channels_of_the_least_norm_go_first() -> None:
    made = nn.Sequential(nn.Conv2d(1, 16, 1), nn.Flatten(), nn.Linear(16 * 4, 2))
    with torch.no_grad():
        made[0].weight.copy_(torch.arange(1.0, 17.0).view(16, 1, 1, 1))  # type: ignore[operator]
        made[0].bias.zero_()  # type: ignore[operator]
        made[2].weight.fill_(0.1)  # type: ignore[operator]
    remove_channels(made, torch.randn(2, 1, 2, 2), 0.5)
    assert made[0].weight.flatten().tolist() == list(range(9, 17))  # type: ignore[operator]


@pytest.mark.parametrize("bias", [0.0, 1e6])
def test_channels_that_move_are_not_followed_to_a_wrong_place(bias: float) -> None:
    made = net(middle=lambda y: y.roll(3, 1))
    made.head.bias.data.fill_(bias)  # as large as that it is nearly all of the outputs
    with pytest.raises(UserError, match="cannot be followed: without those that were zeroed it computes something els"):
        remove_channels(made, torch.randn(2, 1, 8, 8), 0.5)


def test_equal_outputs_for_all_inputs_prove_nothing() -> None:
    made = net()
    made.head.weight.data.zero_()
    with pytest.raises(UserError, match="its outputs are the same for all inputs that were tried"):
        remove_channels(made, torch.randn(2, 1, 8, 8), 0.5)


class Reshaped(Net):
    """Fixes its width in its code, as attention does."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.head(self.hidden(y.view(len(y), 4, 8, -1).mean((3,)).flatten(1)))


def test_a_network_that_cannot_lose_channels_is_refused() -> None:
    torch.manual_seed(0)
    with pytest.raises(UserError, match="the channels of this network cannot be followed"):
        remove_channels(Reshaped(), torch.randn(2, 1, 8, 8), 0.5)
    for layer in (nn.MultiheadAttention(16, 2), nn.GRU(4, 4), nn.LayerNorm(4), nn.PReLU()):
        with pytest.raises(
            UserError, match=rf"1 is a {type(layer).__name__} with a parameter \w+: only networks whose"
        ):
            remove_channels(nn.Sequential(nn.Linear(4, 4), layer), torch.randn(2, 4), 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": (1, 0, 1)}, r"first: \[1, 0, 1\] cannot be cut from \[1, 32, 1\]"),
        ({"first": (1, 64, 1)}, "first: .* cannot be cut from"),
        ({"first": (1, 16)}, "first: .* cannot be cut from"),
        ({"grouped": (32, 31, 2)}, "grouped: .* cannot be cut from"),
        ({"norm": (2**31 - 1,)}, "norm: .* cannot be cut from"),
        ({"other": (4,)}, "other is no layer of this network"),
        ({"head": None}, "head is missing"),
    ],
)
def test_widths_that_are_not_of_the_network_are_refused(change: dict[str, Any], message: str) -> None:
    made = net()
    before = copy.deepcopy(made.state_dict())
    widths = {name: sizes for name, sizes in {**widths_of(made), **change}.items() if sizes is not None}
    with pytest.raises(UserError, match=f"^widths: {message}"):
        set_widths(made, widths)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_a_network_without_weights_to_zero_is_refused() -> None:
    with pytest.raises(UserError, match="no convolution or linear layer whose weights could be zeroed"):
        zero_weights(nn.Sequential(nn.Flatten(), nn.LayerNorm(4)), 0.5)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_the_smallest_weights_are_zeroed_and_no_others(share: float) -> None:
    made = net().to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    zero_weights(made, share)
    layers = [name for name, sizes in widths_of(made).items() if len(sizes) > 1]
    old = torch.cat([before[f"{name}.weight"].flatten() for name in layers])
    new = torch.cat([made.state_dict()[f"{name}.weight"].flatten() for name in layers])
    gone = new == 0
    assert int(gone.sum()) == round(share * len(old))
    assert old[gone].abs().max() <= old[~gone].abs().min()
    assert torch.equal(new[~gone], old[~gone])
    for name, value in made.state_dict().items():
        assert name.removesuffix(".weight") in layers or torch.equal(value, before[name])
