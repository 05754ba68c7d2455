"""Embeddings: which samples come with an anchor, what is minimised, and what is measured."""

from math import sqrt

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.data.companions import Companions
from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Loader
from ptapp_core.errors import UserError
from ptapp_core.kinds.embed import Embed, Embedder, Embeddings
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure import retrieval
from ptapp_core.measure.judge import OfVectors
from ptapp_core.nn.losses import Contrastive, TripletMargin

TARGET = torch.tensor([0, 1, 0, 2, 1, 1, 0, 3])  # the only one of class 3 is the last
ALL = torch.arange(len(TARGET))


def drawn(epoch: int, index: Tensor = ALL) -> Tensor:
    return Companions(TARGET)(index, Draws(7, epoch, index))


def test_a_positive_is_another_of_the_class_and_a_negative_is_of_another_class() -> None:
    seen: dict[int, tuple[set[int], set[int]]] = {row: (set(), set()) for row in ALL.tolist()}
    for epoch in range(200):
        for row, (positive, negative) in enumerate(drawn(epoch).tolist()):
            seen[row][0].add(positive)
            seen[row][1].add(negative)
    for row, (positives, negatives) in seen.items():
        own = {other for other in ALL.tolist() if TARGET[other] == TARGET[row]}
        assert positives == (own - {row} or {row})  # all of them, and itself where there is no other
        assert negatives == set(ALL.tolist()) - own


def test_positives_and_negatives_are_drawn_evenly() -> None:
    target = torch.arange(300) % 3
    index = torch.zeros(9000, dtype=torch.int64)
    draws = Draws(0, 0, torch.arange(9000))
    positive, negative = Companions(target)(index, draws).unbind(1)
    assert positive.bincount(minlength=300)[3::3].double().std() < 15  # of 99 others, 91 times each: sqrt(91) = 9.5
    assert negative.bincount(minlength=300)[target != 0].double().std() < 10  # of 200, 45 times each


def test_companions_depend_on_the_epoch_and_on_the_anchor_alone() -> None:
    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
    some = torch.tensor([6, 1])
    assert torch.equal(drawn(3, some), drawn(3)[some])


def test_an_embedding_of_one_class_is_refused() -> None:
    with pytest.raises(UserError, match="one class"):
        Companions(torch.zeros(5, dtype=torch.int64))


def batches(accumulate: int) -> list[Tensor]:
    data = {"input": TARGET.clone(), "target": TARGET}
    loader = Loader(data, 4, Runtime("cpu"), seed=1, accumulate=accumulate, companions=Companions(TARGET))
    found = iter(loader)
    return [next(found)["index"] for _ in range(2 * accumulate)]


def test_a_batch_holds_its_anchors_and_then_what_comes_with_each() -> None:
    for index in batches(1):
        anchor, positive, negative = index.chunk(3)
        assert torch.equal(TARGET[anchor], TARGET[positive])
        assert (TARGET[anchor] != TARGET[negative]).all()


def test_a_triplet_is_the_same_in_any_micro_batch() -> None:
    whole, parts = ([set(zip(*index.view(3, -1).tolist(), strict=True)) for index in batches(n)] for n in (1, 2))
    assert whole == [parts[0] | parts[1], parts[2] | parts[3]]


def test_contrastive_is_the_formula_of_its_paper() -> None:
    anchor, positive, far = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.3, 0.4]]), torch.tensor([[0.0, 0.2]])
    loss = Contrastive(margin=0.7)(anchor, positive, far)
    assert loss.item() == pytest.approx(0.5 * 0.5**2 + 0.5 * (0.7 - 0.2) ** 2, rel=1e-4)
    beyond = Contrastive(margin=0.1)(anchor, positive, far)
    assert beyond.item() == pytest.approx(0.5 * 0.5**2, rel=1e-4)  # a negative beyond the margin costs nothing


VECTORS = functional.normalize(torch.randn(40, 5, generator=torch.Generator().manual_seed(0)))
CLASSES = torch.randint(0, 4, (40,), generator=torch.Generator().manual_seed(1))


def map_at_r_of(vectors: Tensor, target: Tensor, row: int) -> float:
    """Word for word as Musgrave et al. 2020 define it."""
    others = [other for other in range(len(target)) if other != row]
    others.sort(key=lambda other: -float(vectors[row] @ vectors[other]))
    right = [bool(target[other] == target[row]) for other in others]
    count = sum(right)
    return sum(sum(right[:i]) / i for i in range(1, count + 1) if right[i - 1]) / count


@pytest.mark.parametrize("values", [2**24, 100])
def test_figures_are_those_of_their_definitions_however_few_values_fit_into_memory(
    values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "_VALUES", values)
    expected = [map_at_r_of(VECTORS, CLASSES, row) for row in range(40)]
    torch.testing.assert_close(retrieval.average_precisions(VECTORS, CLASSES), torch.tensor(expected).double())
    similar = (VECTORS @ VECTORS.T).fill_diagonal_(-9)
    assert torch.equal(retrieval.nearest(VECTORS).row, similar.argmax(1))
    figures = Embeddings(VECTORS, CLASSES).metrics()
    assert figures["recall_at_1"] == (CLASSES[similar.argmax(1)] == CLASSES).double().mean().item()
    assert figures["map_at_r"] == pytest.approx(sum(expected) / 40)


def test_a_class_of_one_sample_has_no_query_and_is_still_a_neighbour() -> None:
    angles = torch.tensor([0.0, 0.1, 0.15, 3.0])
    vectors = torch.stack([angles.cos(), angles.sin()], 1)
    predictions = Embeddings(vectors, torch.tensor([0, 0, 1, 0]))
    # The second is nearest to the lone one, the fourth to it too: of three queries the first alone is right.
    assert predictions.metrics()["recall_at_1"] == pytest.approx(1 / 3)
    record, _ = predictions.report(["many", "one"])
    assert record["queries"] == 3
    assert [row["queries"] for row in record["classes"]] == [3, 0]
    assert [row["name"] for row in predictions.rows("abcd", ["many", "one"])] == ["a", "b", "d"]
    assert predictions.mistakes(["many", "one"])[0].row == 1


@pytest.mark.parametrize(("target", "said"), [([1, 1, 1], "one class alone"), ([0, 1, 2], "one sample of each")])
def test_a_split_that_tells_nothing_is_refused(target: list[int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Embeddings(VECTORS[:3], torch.tensor(target)).metrics()


def test_the_loss_of_an_evaluation_is_the_same_each_time_and_that_of_a_triplet() -> None:
    predictions, loss = Embeddings(VECTORS, CLASSES), TripletMargin(0.5)
    figures = predictions.figures(loss)
    assert figures == predictions.figures(loss)
    every = (VECTORS - VECTORS[:, None]).norm(dim=2)
    assert 0 < figures["loss"] < every.max() + 0.5


class Scores(nn.Module):
    def __init__(self, kind: nn.Module) -> None:
        super().__init__()
        self.body, self.head, self.kind = nn.Linear(3, 6), nn.Linear(6, 2), kind

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def test_vectors_of_another_kind_are_what_the_head_takes_and_the_model_keeps_its_head() -> None:
    from ptapp_core.kinds.classify import Classify

    model, x = Scores(Classify(["a", "b"])), torch.randn(4, 3)
    given = Embedder(model, "head")(x)
    torch.testing.assert_close(given, functional.normalize(model.body(x)))
    assert model(x).shape == (4, 2)


def test_vectors_of_an_embedding_are_what_its_kind_gives() -> None:
    model, x = Scores(kind := Embed(["a", "b"], 2)), torch.randn(4, 3)
    torch.testing.assert_close(Embedder(model, "head")(x), kind(model(x)))
    assert Embedder(model, "head")(x).norm(dim=1).tolist() == pytest.approx([1.0] * 4)


def test_a_lossy_form_is_judged_by_its_neighbours_and_by_its_vectors() -> None:
    judge = OfVectors()
    assert judge.score(VECTORS, CLASSES) == Embeddings(VECTORS, CLASSES).metrics()["recall_at_1"]
    turned = VECTORS.clone()
    turned[:10] = functional.normalize(turned[:10] + 1 / sqrt(5))
    assert judge.agreement(VECTORS, VECTORS) == 1
    assert judge.agreement(VECTORS, turned) == pytest.approx(0.75, abs=0.05)
