"""Attention and transformer layers against torch.nn's with the same weights, in every combination of masks."""

import pytest
import torch
from torch import Tensor, nn

from ptapp_core.nn.attention import KeyValues, MultiHeadAttention, sinusoidal
from ptapp_core.nn.dropout import Dropout
from ptapp_core.nn.transformer import Cache, Layer, Stack

N, S, T, DIM, HEADS = 3, 6, 5, 16, 4
LENGTHS, MEMORY_LENGTHS = torch.tensor([6, 4, 1]), torch.tensor([5, 2, 3])


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    nn.init.normal_(ours.in_projection.bias)
    theirs.in_proj_weight.data.copy_(ours.in_projection.weight.data)
    theirs.in_proj_bias.data.copy_(ours.in_projection.bias.data)
    theirs.out_proj.load_state_dict(ours.out_projection.state_dict())


def real(length: int, lengths: Tensor) -> Tensor:
    return torch.arange(length) < lengths[:, None]


def forbidden(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("crossed", [False, True])
def test_attention_equals_torchs_in_both_paths(causal: bool, padded: bool, crossed: bool) -> None:
    if crossed and causal:
        pytest.skip("a memory has no order to hide")
    torch.manual_seed(0)
    ours, theirs = MultiHeadAttention(DIM, HEADS).eval(), nn.MultiheadAttention(DIM, HEADS, batch_first=True).eval()
    copy_attention(ours, theirs)
    x, memory = torch.randn(N, S, DIM), torch.randn(N, T, DIM)
    keep = (real(T, MEMORY_LENGTHS) if crossed else real(S, LENGTHS)) if padded else None
    source = memory if crossed else x
    expected, weights = theirs(
        x,
        source,
        source,
        key_padding_mask=None if keep is None else ~keep,
        attn_mask=forbidden(S) if causal else None,
        average_attn_weights=False,
    )
    got = ours(x, memory if crossed else None, keep=keep, causal=causal)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    slow, maps = ours.with_maps(x, memory if crossed else None, keep=keep, causal=causal)
    torch.testing.assert_close(slow, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(maps, weights, atol=1e-5, rtol=1e-5)


def test_a_query_that_sees_nothing_gets_nothing() -> None:
    attention = MultiHeadAttention(DIM, HEADS).eval()
    x, keep = torch.randn(N, S, DIM), real(S, torch.tensor([0, 3, 6]))
    for output in (attention(x, keep=keep), attention.with_maps(x, keep=keep)[0]):
        assert output.isfinite().all()
        assert torch.equal(output[0], attention.out_projection.bias.expand(S, DIM))


def copy_layer(ours: Layer, theirs: nn.Module, crossed: bool) -> None:
    copy_attention(ours.attention, theirs.self_attn)
    pairs = [(ours.attention_norm, theirs.norm1), (ours.norm, theirs.norm3 if crossed else theirs.norm2)]
    if crossed:
        copy_attention(ours.cross, theirs.multihead_attn)
        pairs.append((ours.cross_norm, theirs.norm2))
    for mine, other in [*pairs, (ours.feed_forward.up, theirs.linear1), (ours.feed_forward.down, theirs.linear2)]:
        nn.init.normal_(mine.bias)
        other.load_state_dict(mine.state_dict())


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 333, requires_grad=True)
    y = Dropout(0.3)(x)
    assert abs((y == 0).float().mean().item() - 0.3) < 5e-3
    torch.testing.assert_close(y[y > 0].unique(), torch.tensor([1 / 0.7]), atol=1e-4, rtol=0)
    y.sum().backward()
    assert torch.equal(x.grad, y)  # of what was kept alone
    assert torch.equal(Dropout(0.3).eval()(x), x)


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_layers_equal_torchs(pre_norm: bool, causal: bool, padded: bool, crossed: bool, activation: str) -> None:
    torch.manual_seed(0)
    ours = Layer(DIM, HEADS, 32, pre_norm=pre_norm, cross=crossed, activation=activation).train()
    kind = nn.TransformerDecoderLayer if crossed else nn.TransformerEncoderLayer
    theirs = kind(DIM, HEADS, 32, 0.0, activation, batch_first=True, norm_first=pre_norm).train()
    copy_layer(ours, theirs, crossed)
    x, memory = torch.randn(N, S, DIM), torch.randn(N, T, DIM)
    keep, memory_keep = (real(S, LENGTHS), real(T, MEMORY_LENGTHS)) if padded else (None, None)
    got = ours(x, memory if crossed else None, keep=keep, memory_keep=memory_keep if crossed else None, causal=causal)
    mask = forbidden(S) if causal else None
    hidden = None if keep is None else ~keep
    if crossed:
        hidden_memory = None if memory_keep is None else ~memory_keep
        expected = theirs(x, memory, mask, None, hidden, hidden_memory)
    else:
        expected = theirs(x, mask, hidden)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_cache_changes_nothing(crossed: bool, step: int) -> None:
    torch.manual_seed(0)
    stack = Stack(2, DIM, HEADS, hidden=32, cross=crossed).eval()
    x, memory = torch.randn(N, S, DIM), torch.randn(N, T, DIM) if crossed else None
    memory_keep = real(T, MEMORY_LENGTHS) if crossed else None
    keep = real(S, torch.tensor([6, 6, 6])) & (
        torch.arange(S) >= torch.tensor([0, 2, 1])[:, None]
    )  # padded on the left
    whole = stack(x, memory, keep=keep, memory_keep=memory_keep, causal=True)
    cache: list[Cache] = stack.new_cache()
    parts = []
    for start in range(0, S, step):
        stop = start + step
        part = stack(x[:, start:stop], memory, keep=keep[:, :stop], memory_keep=memory_keep, causal=True, cache=cache)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1)[keep], whole[keep], atol=1e-5, rtol=1e-5)
    assert cache[0].own.length == S
    for each in cache:
        each.select(torch.tensor([2, 2]))
    assert cache[1].own.keys.shape[0] == 2


def test_the_maps_of_a_stack_are_those_it_computes_with() -> None:
    torch.manual_seed(0)
    for crossed in (False, True):
        stack = Stack(2, DIM, HEADS, hidden=32, cross=crossed, pre_norm=crossed).eval()
        x, memory = torch.randn(N, S, DIM), torch.randn(N, T, DIM) if crossed else None
        maps = list(stack.maps(x, memory, causal=True))
        assert [tuple(each.shape) for each in maps] == [(N, HEADS, S, T if crossed else S)] * 2
        for each in maps:
            torch.testing.assert_close(each.sum(-1), torch.ones(N, HEADS, S))


def test_an_empty_cache_has_no_length_and_positions_are_as_published() -> None:
    assert KeyValues().length == 0
    table = sinusoidal(50, 8)
    assert table.shape == (50, 8)
    torch.testing.assert_close(table[7, 0], torch.tensor(7.0).sin())
    torch.testing.assert_close(table[7, 3], torch.tensor(7.0 / 10_000 ** (2 / 8)).cos())
