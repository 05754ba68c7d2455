"""Search and sampling in NumPy give what torch's own arithmetic gives."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from ptapp_core.data.counters import bits_of, keys_of, start_of, upper
from ptapp_core.data.draws import Draws
from ptapp_nlp.data.tokens import EOS
from ptapp_nlp.search import beam, best_of, most_tokens, sample


@given(seed=some.integers(0, 2**32 - 1), epoch=some.integers(0, 1000), count=some.integers(1, 9))
def test_the_numbers_of_arrays_are_those_of_tensors(seed: int, epoch: int, count: int) -> None:
    expected = Draws(seed, epoch, torch.arange(count)).bits("token 3", 4).numpy()
    keys = keys_of(start_of(np.array([seed]), epoch), np.arange(count))
    bits = bits_of(keys, "token 3", np.arange(1, 5))
    np.testing.assert_array_equal(bits, expected)
    uniform = Draws(seed, epoch, torch.arange(count)).uniform("token 3", 4).numpy()
    np.testing.assert_array_equal(upper(bits) * 2.0**-24, uniform)


@pytest.mark.parametrize(("count", "width", "size"), [(1, 1, 5), (3, 4, 9), (2, 3, 400)])
def test_the_best_continuations_are_torchs(count: int, width: int, size: int) -> None:
    draw = torch.Generator().manual_seed(size)
    logits, scores = torch.randn(count * width, size, generator=draw), torch.randn(count, width, generator=draw)
    scores[0, 1:] = -torch.inf  # as at the beginning
    sums = (scores[:, :, None] + logits.log_softmax(1).view(count, width, size)).flatten(1)
    total, flat = sums.topk(2 * width, 1)
    found = best_of(logits.numpy(), scores.numpy())
    np.testing.assert_allclose(found.total, total, rtol=1e-5)
    real = np.isfinite(found.total)
    np.testing.assert_array_equal((found.origin * size + found.token)[real], flat.numpy()[real])


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.7}, {"top_k": 5, "top_p": 0.5}])
def test_a_token_is_drawn_as_torch_shares_them_out(options: dict[str, float]) -> None:
    logits = torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    logits[:, EOS] = -100.0
    said = sample(lambda tokens: logits.numpy(), np.zeros((200, 1), np.int64), 1, temperature=0.7, seed=5, **options)  # type: ignore[arg-type]
    values, order = (logits / 0.7).sort(stable=True, dim=1, descending=True)
    if "top_k" in options:
        values[:, int(options["top_k"]) :] = -torch.inf
    shares = values.softmax(1)
    if "top_p" in options:
        shares = shares.masked_fill(shares.cumsum(1) - shares >= options["top_p"], 0.0)
    sums = shares.double().cumsum(1)
    point = Draws(5, 0, torch.arange(200)).uniform("token 0")[:, None].double() * sums[:, -1:]
    expected = order.gather(1, (sums <= point).sum(1, keepdim=True).clamp(max=11))
    assert said == expected.tolist()


def test_tokens_below_a_share_of_the_likeliest_are_never_drawn() -> None:
    logits = np.log(np.array([[0.02, 0.03, 0.05, 0.01, 0.4, 0.21, 0.19, 0.09]], np.float32)).repeat(2000, 0)

    def drawn(**options: float) -> list[int]:
        rows = sample(lambda tokens: logits, np.zeros((2000, 1), np.int64), 1, **options)  # type: ignore[arg-type]
        return np.bincount([row[0] for row in rows], minlength=8).tolist()

    counts = drawn(temperature=1.0, min_p=0.5)  # 0.2 and more
    assert [count > 0 for count in counts] == [False] * 4 + [True, True, False, False]
    np.testing.assert_allclose(counts[4] / 2000, 0.4 / 0.61, atol=0.03)
    hot = drawn(temperature=2.0, min_p=0.5)  # the roots of the shares: 0.1 and more
    assert [count > 0 for count in hot] == [False] * 4 + [True, True, True, False]
    assert drawn(temperature=1.0, min_p=1.0) == [0] * 4 + [2000, 0, 0, 0]


def test_a_token_that_the_text_has_is_penalised() -> None:
    shares = np.array([1e-9, 1e-9, 1e-9, 1e-9, 0.5, 0.3, 0.2], np.float32)

    def said(first: list[int], penalty: float, offset: float = 0.0) -> list[list[int]]:
        logits = np.log(shares)[None] + np.float32(offset)
        return sample(lambda tokens: logits, np.array([first]), 3, repetition_penalty=penalty)

    assert said([4], 1.0) == [[4, 4, 4]]
    # 0.5^2 = 0.25 < 0.3, and then 0.3^2 = 0.09 < 0.2, and 0.25 is the greatest; the mark that it begins with is free
    assert said([4], 2.0) == said([4], 2.0, offset=50.0) == [[4, 5, 4]]
    assert said([0, 4, 5], 2.0) == [[4, 4, 4]]
    assert said([0, 4, 5], 3.0) == [[6, 4, 4]]  # 0.125, 0.027, 0.2; then 0.125, 0.027, 0.008
    assert said([0, 4, 4, 4], 2.0) == said([0, 4], 2.0)  # once, however often it occurs


def test_what_is_never_chosen_and_where_a_row_ends() -> None:
    logits = np.log(np.array([[0.3, 0.3, 0.2, 0.1, 0.06, 0.04]], np.float32)).repeat(3, 0)
    told: list[tuple[int, int]] = []

    def ends(row: int, token: int) -> bool:
        told.append((row, token))
        return len([one for one, _ in told if one == row]) > row

    rows = sample(lambda tokens: logits, np.zeros((3, 1), np.int64), 9, never=(0, 1, 2, EOS), ends=ends)
    assert rows == [[4], [4, 4], [4, 4, 4]]
    assert sorted(told) == [(0, 4), (1, 4), (1, 4), (2, 4), (2, 4), (2, 4)]
    hot = sample(lambda tokens: logits, np.zeros((3, 1), np.int64), 50, temperature=9.0, never=(0, 1, 2, EOS))
    assert {token for row in hot for token in row} == {4, 5}


def test_a_wide_beam_finds_the_likeliest_of_all_sequences() -> None:
    table = torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).numpy()  # logits after each token
    (found,), (score,) = beam(
        lambda rows, tokens, scores: best_of(table[tokens[:, 0]], scores),
        np.array([[2]]),
        np.array([3]),
        width=6,
        penalty=0.0,
    )
    logs = torch.from_numpy(table).log_softmax(1)

    def all_from(said: list[int], total: float) -> list[tuple[float, list[int]]]:
        if len(said) == 3:
            return [(total, said)]
        last = said[-1] if said else 2
        own = [(total + float(logs[last, EOS]), said)]
        return own + [
            one
            for token in range(6)
            if token != EOS
            for one in all_from([*said, token], total + float(logs[last, token]))
        ]

    best, expected = max(all_from([], 0.0))
    assert found == expected
    assert score == pytest.approx(best, abs=1e-5)


def test_a_translation_has_room_for_its_source_twice_within_what_was_learned() -> None:
    assert most_tokens([1, 5, 100], 64).tolist() == [12, 20, 63]
