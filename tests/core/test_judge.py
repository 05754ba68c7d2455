"""What a lossy form of a model is judged by: figures by hand, and what counts as one answer."""

import torch

from ptapp_core.measure.judge import OfActions, OfClasses, OfLabels, OfNumbers


def test_classes_are_scored_by_the_likeliest_one_and_ignored_targets_do_not_count() -> None:
    judge = OfClasses(2, ignored=-100)
    answers = torch.tensor([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]])
    target = torch.tensor([[0, 0, -100]])
    kept, counted = judge.kept(answers, target), judge.counted(target)
    assert kept.tolist() == [0, 1]
    assert judge.score(kept, counted) == 0.5
    assert judge.chance(torch.tensor([1, 1, 1, 0])) == 0.75
    assert judge.agreement(kept, torch.tensor([0, 0])) == 0.5


def test_labels_agree_where_a_sample_is_given_the_same_ones() -> None:
    judge = OfLabels(torch.tensor([0.5, 0.2]))
    one = torch.tensor([[0.6, 0.3], [0.4, 0.1]])
    assert judge.agreement(one, torch.tensor([[0.9, 0.21], [0.4, 0.25]])) == 0.5
    assert judge.score(one, torch.tensor([[1.0, 1.0], [0.0, 0.0]])) == 1.0
    assert judge.chance(torch.tensor([[1.0, 0.0], [0.0, 0.0]])) == 0.5  # of the one label that occurs


def test_numbers_agree_within_a_tenth_of_the_deviation_of_the_training_targets() -> None:
    judge = OfNumbers(torch.tensor([10.0]).double(), torch.tensor([2.0]).double())
    one = torch.tensor([[10.0], [12.0]]).double()
    assert judge.agreement(one, torch.tensor([[10.19], [12.21]]).double()) == 0.5
    assert judge.score(one, torch.tensor([[0.0], [1.0]])) == 1.0  # targets come in deviations
    assert judge.score(one.mean(0).expand(2, 1), torch.tensor([[0.0], [1.0]])) == judge.chance(one) == 0.0


def test_a_policy_that_always_does_the_same_is_at_chance() -> None:
    counted = OfActions()
    assert counted.agreement(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])) == 2 / 3
    assert counted.chance(torch.tensor([1, 1, 1])) == 1.0
    near = OfActions(torch.tensor([0.02]))
    assert near.agreement(torch.tensor([[0.5], [0.1]]), torch.tensor([[0.51], [0.2]])) == 0.5
    assert near.chance(torch.tensor([[0.3], [0.3]])) == 1.0
