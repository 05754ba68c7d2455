"""The conditional random field equals a sum over all paths that is written out, and its exports keep their loops."""

from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from ptapp_nlp.entities import allowed
from ptapp_nlp.models.crf import CRF

BIO = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
LENGTHS = (4, 1, 3)


def field(tags: tuple[str, ...]) -> tuple[CRF, Tensor, Tensor]:
    """A random field with random scores of three sentences of unequal lengths."""
    torch.manual_seed(0)
    crf = CRF(tags)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    real = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return crf, 2 * torch.randn(len(LENGTHS), max(LENGTHS), len(tags)), real


def paths(crf: CRF, tags: tuple[str, ...], scores: Tensor, length: int) -> dict[tuple[int, ...], Tensor]:
    """The score of every path that the tags allow."""
    first, after = allowed(tags)
    found = {}
    for path in product(range(len(tags)), repeat=length):
        if first[path[0]] and all(after[one][other] for one, other in pairwise(path)):
            steps = [crf.transitions[one, other] for one, other in pairwise(path)]
            found[path] = sum(steps, scores[range(length), list(path)].sum() + crf.start[path[0]] + crf.end[path[-1]])
    return found


@pytest.mark.parametrize("tags", [BIO, ("B", "I", "O"), ("NN", "VB", "I")])
def test_the_loss_is_that_of_all_paths(tags: tuple[str, ...]) -> None:
    crf, scores, real = field(tags)
    target, total = torch.full(real.shape, -100), torch.tensor(0.0)
    for row, length in enumerate(LENGTHS):
        every = paths(crf, tags, scores[row], length)
        own = list(every)[len(every) // 3]
        target[row, :length] = torch.tensor(own)
        total = total + torch.stack([*every.values()]).logsumexp(0) - every[own]
    found = crf(scores, target, real)
    torch.testing.assert_close(found, total)
    names, ours = zip(*crf.named_parameters(), strict=True)
    for name, one, other in zip(names, *(torch.autograd.grad(each, ours) for each in (found, total)), strict=True):
        torch.testing.assert_close(one, other, msg=name)


@pytest.mark.parametrize("forgotten", ["start", "end", "transitions", "barred", "barred_start"])
def test_a_field_that_forgets_a_part_of_a_path_has_another_loss(forgotten: str) -> None:
    crf, scores, real = field(BIO)
    target = torch.tensor([[1, 3, 4, 0], [4, -100, -100, -100], [0, 2, 4, -100]])
    with torch.no_grad():
        whole = crf(scores, target, real)
        getattr(crf, forgotten).zero_()
        assert abs(float(crf(scores, target, real) - whole)) > 1e-2


@pytest.mark.parametrize("tags", [BIO, ("B", "I", "O"), ("NN", "VB", "I")])
def test_the_answer_is_the_likeliest_path_with_its_marginal_probabilities(tags: tuple[str, ...]) -> None:
    crf, scores, real = field(tags)
    with torch.no_grad():
        answer = crf.best(scores, real)
        for row, length in enumerate(LENGTHS):
            every = paths(crf, tags, scores[row], length)
            best = max(every, key=lambda path: float(every[path]))
            weights = dict(zip(every, torch.stack([*every.values()]).softmax(0), strict=True))
            expected = torch.zeros(length, len(tags))
            for place, tag in enumerate(best):
                expected[place, tag] = sum(weight for path, weight in weights.items() if path[place] == tag)
            torch.testing.assert_close(answer[row, :length], expected, atol=1e-5, rtol=1e-5)


def test_no_answer_begins_within_an_entity_or_changes_its_type() -> None:
    crf, scores, real = field(BIO)
    first, after = allowed(BIO)
    with torch.no_grad():
        crf.transitions += 50 * ~torch.tensor(after)  # what the scores want most is what BIO rules out
        path = crf.best(scores + 50 * ~torch.tensor(first), real).argmax(2).tolist()
    for row, length in zip(path, LENGTHS, strict=True):
        assert first[row[0]]
        assert all(after[one][other] for one, other in pairwise(row[:length]))


def test_a_sentence_has_the_same_answer_alone() -> None:
    crf, scores, real = field(BIO)
    with torch.no_grad():
        together = crf.best(scores, real)
        for row, length in enumerate(LENGTHS):
            alone = crf.best(scores[row : row + 1, :length], real[row : row + 1, :length])
            assert torch.equal(together[row, :length], alone[0])
