"""Contract 4: order depends on (seed, epoch), augmentation on (seed, epoch, index)."""

from itertools import chain, islice
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from contract.learner import given_to_fit
from contract.rows import ROWS, Row
from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch, Loader, each_once
from ptapp_core.machine.runtime import Runtime


class Numbers(Dataset[Batch]):
    """The same samples as `columns`, read one by one."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> Batch:
        return {"input": torch.tensor(float(index))}


def columns() -> dict[str, Tensor]:
    return {"input": torch.arange(23.0)}


def noisy(batch: Batch, draws: Draws) -> Batch:
    return {**batch, "input": batch["input"] + draws.uniform("noise")}


class Rank(Runtime):
    """One of several ranks, without the others."""

    def __init__(self, rank: int, world: int) -> None:
        super().__init__("cpu", "fp32")
        self.rank, self.world = rank, world


def steps(loader: Loader, count: int, accumulate: int = 1) -> list[list[tuple[int, float]]]:
    """For each optimizer step its samples in order: (index, augmented value)."""
    taken: list[list[tuple[int, float]]] = []
    for number, batch in enumerate(islice(loader, count * accumulate)):
        if number % accumulate == 0:
            taken.append([])
        if batch is not None:
            taken[-1] += zip(batch["index"].tolist(), batch["input"].tolist(), strict=True)
    return taken


def test_an_epoch_gives_each_sample_once_and_another_epoch_another_order_and_other_draws() -> None:
    first, second = (steps(Loader(columns(), 5, Rank(0, 1), transform=noisy), 10)[half : half + 5] for half in (0, 5))
    assert sorted(index for step in first for index, _ in step) == list(range(23))
    assert sorted(index for step in second for index, _ in step) == list(range(23))
    assert first != second
    assert not set(chain(*first)) & set(chain(*second))


def test_workers_change_nothing() -> None:
    memory = steps(Loader(columns(), 5, Rank(0, 1), transform=noisy), 12)
    for workers in (0, 2):
        assert steps(Loader(Numbers(), 5, Rank(0, 1), transform=noisy, workers=workers), 12) == memory


def test_ranks_and_micro_batches_share_the_same_steps() -> None:
    whole = steps(Loader(columns(), 5, Rank(0, 1), transform=noisy), 12)
    for world, accumulate in ((2, 1), (3, 1), (1, 2), (2, 2), (7, 3)):
        shares = [
            steps(Loader(columns(), 5, Rank(rank, world), accumulate=accumulate, transform=noisy), 12, accumulate)
            for rank in range(world)
        ]
        together = [sorted(chain(*parts)) for parts in zip(*shares, strict=True)]
        assert together == [sorted(step) for step in whole]


@pytest.mark.parametrize("row", [row for row in ROWS if row.augmented], ids=str)
def test_a_sample_is_changed_alike_in_whatever_micro_batch(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[dict[int, Tensor]]] = []
    for accumulate in (1, 5):
        words = [*row.train(tmp_path), *row.augmented.split(), "--accumulate", str(accumulate)]
        _, source, _ = given_to_fit(words, monkeypatch)
        seen.append([{} for _ in range(12)])  # steps of two epochs
        for number, batch in enumerate(islice(source, 12 * accumulate)):
            if batch is not None:
                seen[-1][number // accumulate] |= zip(batch["index"].tolist(), batch[row.input], strict=True)
    for whole, parts in zip(*seen, strict=True):
        assert whole.keys() == parts.keys()
        for index, sample in parts.items():  # a text is as long as the longest of its micro-batch
            expected = whole[index][: len(sample)]
            torch.testing.assert_close(sample, expected, rtol=1e-4, atol=1e-4, equal_nan=True)  # NaN: a missing cell
    first, second = ({key: x for step in seen[0][half : half + 6] for key, x in step.items()} for half in (0, 6))
    assert any(not torch.equal(x.nan_to_num(), second[key].nan_to_num()) for key, x in first.items())


def test_it_goes_on_at_any_step() -> None:
    for seen in range(12):
        whole = Loader(columns(), 5, Rank(0, 1), accumulate=2, transform=noisy)
        expected = steps(whole, 12, 2)[seen:]
        stopped = Loader(columns(), 5, Rank(0, 1), accumulate=2, transform=noisy)
        steps(stopped, seen, 2)
        resumed = Loader(columns(), 5, Rank(0, 1), accumulate=2, transform=noisy)
        resumed.load_state_dict(stopped.state_dict())
        assert steps(resumed, 12 - seen, 2) == expected


def test_the_seed_decides() -> None:
    orders = [steps(Loader(columns(), 5, Rank(0, 1), seed=seed), 5) for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_a_weighted_sampler_draws_in_proportion() -> None:
    sampling = torch.ones(23)
    sampling[3] = 22.0
    drawn = steps(Loader(columns(), 23, Rank(0, 1), sampling=sampling), 100)
    share = sum(index == 3 for step in drawn for index, _ in step) / (23 * 100)
    assert abs(share - 0.5) < 0.05


def test_names_are_those_of_the_step() -> None:
    loader = Loader(columns(), 5, Rank(0, 1), names=[f"file{i}" for i in range(23)])
    taken = steps(loader, 12)
    for number, step in enumerate(taken, start=1):
        assert loader.names(number) == [f"file{index}" for index, _ in step]


def test_draws_are_uniform_and_independent_of_the_batch() -> None:
    index = torch.arange(10_000)
    drawn = Draws(0, 3, index).uniform("x", 2)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    torch.testing.assert_close(drawn.mean(0), torch.full((2,), 0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.var(0), torch.full((2,), 1 / 12), atol=0.01, rtol=0)
    assert abs(torch.corrcoef(drawn.T)[0, 1]) < 0.03
    order = torch.randperm(10_000)
    assert torch.equal(Draws(0, 3, order).uniform("x", 2), drawn[order])
    for other in (Draws(1, 3, index), Draws(0, 4, index)):
        assert abs(torch.corrcoef(torch.stack([drawn[:, 0], other.uniform("x", 2)[:, 0]]))[0, 1]) < 0.03
    assert abs(torch.corrcoef(torch.stack([drawn[:, 0], Draws(0, 3, index).uniform("y")]))[0, 1]) < 0.03


class Ragged:
    """Samples of unequal lengths that pad themselves: sample i is i + 1 ones."""

    def __len__(self) -> int:
        return 23

    def gather(self, index: Tensor) -> Batch:
        return {"input": (torch.arange(int(index.max()) + 1) <= index[:, None]).float()}


def test_a_data_set_may_gather_its_own_batches_in_an_order_of_its_own() -> None:
    def longest_last(generator: torch.Generator) -> Tensor:
        return torch.randperm(23, generator=generator).sort().values

    loader = Loader(Ragged(), 5, Rank(0, 1), order=longest_last)
    batches = list(islice(loader, 5))
    assert [tuple(batch["input"].shape) for batch in batches] == [(5, 5), (5, 10), (5, 15), (5, 20), (3, 23)]
    assert all(torch.equal(batch["input"].sum(1), batch["index"] + 1.0) for batch in batches)
    assert loader.names(5) == ["sample 20", "sample 21", "sample 22"]
    measured = list(each_once(Ragged(), 8, Rank(1, 2)))
    assert torch.cat([batch["input"].sum(1) for batch in measured]).tolist() == list(range(2, 24, 2))
