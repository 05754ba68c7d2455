"""Several targets at once: their losses, figures, answers and names are those of each target by itself."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ptapp_core.data.several_columns import SeveralColumns
from ptapp_core.data.table import Table
from ptapp_core.data.targets import Part, PartNames, Wanted, refuse_single, said_of, text_of
from ptapp_core.errors import UserError
from ptapp_core.kinds.card import KindCard
from ptapp_core.kinds.classify import Classify
from ptapp_core.kinds.known import kind_for, kind_of
from ptapp_core.kinds.multilabel import Multilabel
from ptapp_core.kinds.multitask import Multitask
from ptapp_core.kinds.regress import Regress
from ptapp_core.nn.losses import CrossEntropy, Focal
from ptapp_core.runs.log import lower_is_better
from ptapp_core.settings.supervised import SupervisedSettings

NAMES = PartNames(
    [
        Part("mood", "classify", ("happy", "sad", "calm")),
        Part("seen", "multilabel", ("hat", "beard")),
        Part("age", "regress", ("age",)),
    ]
)
RAW = torch.tensor([[0, 1, 0, 20.0], [1, 0, 0, 40.0], [2, 1, 1, 30.0], [1, 0, 1, 70.0]], dtype=torch.float64)


def made() -> tuple[Multitask, Tensor, Tensor]:
    """A kind of three targets, what a network might give, and the targets as they are learned."""
    kind = kind_for("multitask", NAMES, RAW)
    assert isinstance(kind, Multitask)
    return kind, torch.randn(4, kind.outputs, generator=torch.Generator().manual_seed(0)), kind.as_learned(NAMES, RAW)


def settings(**options: object) -> SupervisedSettings:
    given = {"data": "x", "task": "classify,multilabel,regress", "label_column": "mood,hat+beard,age", **options}
    return SupervisedSettings.resolve(None, given)


def alone() -> list[tuple[Classify | Multilabel | Regress, slice, Tensor]]:
    """Each target by itself: its kind, its outputs, and its targets as they are learned."""
    classes, labels = Classify(["happy", "sad", "calm"]), Multilabel(["hat", "beard"])
    age = Regress.of(["age"], RAW[:, 3:])
    return [
        (classes, slice(0, 3), RAW[:, 0].long()),
        (labels, slice(3, 5), RAW[:, 1:3].float()),
        (age, slice(5, 6), age.as_learned(["age"], RAW[:, 3:])),
    ]


def test_the_loss_is_the_weighted_sum_of_the_losses_of_each_target() -> None:
    kind, outputs, target = made()
    loss = kind.loss_of(settings(task_weights=[1, 0.5, 2], loss="focal,bce,huber"), target, torch.device("cpu"))
    names = ("focal", "bce", "huber")
    expected = [
        weight * one.loss(name, own, weighed=False, label_smoothing=0.0)(outputs[:, place], own)
        for weight, name, (one, place, own) in zip((1, 0.5, 2), names, alone(), strict=True)
    ]
    torch.testing.assert_close(loss(outputs, target), torch.stack(expected).sum())


def test_a_sum_over_samples_is_that_of_its_parts() -> None:
    kind, outputs, target = made()
    loss = kind.loss(None, target, weighed=True, label_smoothing=0.1)
    halves = loss(outputs[:2], target[:2]) + loss(outputs[2:], target[2:])
    torch.testing.assert_close(loss(outputs, target), halves)


def test_mixed_targets_have_the_loss_of_their_shares() -> None:
    kind, outputs, target = made()
    loss = kind.loss(None, target, weighed=False, label_smoothing=0.0)
    whole = kind.mixable(target)
    assert whole.shape == (4, 6)
    torch.testing.assert_close(loss(outputs, whole), loss(outputs, target))
    mixed = 0.3 * whole + 0.7 * whole.roll(1, 0)
    shares = CrossEntropy()(outputs[:, :3], mixed[:, :3])
    rest = sum(
        one.loss(None, own, weighed=False, label_smoothing=0.0)(outputs[:, place], mixed[:, place])
        for one, place, own in alone()[1:]
    )
    torch.testing.assert_close(loss(outputs, mixed), shares + rest)


def test_figures_answers_and_rows_are_those_of_each_target_under_its_name() -> None:
    kind, outputs, target = made()
    loss = kind.loss_of(settings(task_weights=[1, 0.5, 2]), target, torch.device("cpu"))
    found = kind.gathered(outputs, target)
    figures, metrics, rows = found.figures(loss), found.metrics(), found.rows(list("abcd"), kind.names)
    assert figures.keys() == set(kind.figures)
    assert kind.figures[0] == "loss"
    assert figures["loss"] == pytest.approx(loss(outputs, target).item() / 4)
    for title, (one, place, own) in zip(NAMES.titles, alone(), strict=True):
        by_itself = one.gathered(outputs[:, place], own)
        assert {f"{title}/{name}": value for name, value in by_itself.metrics().items()}.items() <= metrics.items()
        torch.testing.assert_close(found.answers[:, place], by_itself.answers.double())
        expected = by_itself.rows(list("abcd"), one.names)
        assert [row["scores"][title] for row in rows] == [row["score"] for row in expected]
        assert [(row["true"][title], row["said"][title]) for row in rows] == [(r["true"], r["said"]) for r in expected]
    torch.testing.assert_close(kind(outputs), found.answers)
    said = kind.answer(kind(outputs)[0].tolist())["targets"]
    assert said["mood"]["class"] in ("happy", "sad", "calm")
    assert said["age"]["values"].keys() == {"age"}
    assert len(kind.columns()) == len(kind.cells(kind(outputs)[0].tolist()))


def test_windows_are_averaged_by_each_target() -> None:
    kind, _, target = made()
    outputs, counted = torch.randn(2, 4, 6), torch.tensor([[1, 1, 0, 1], [0, 0, 0, 1]]).bool()[..., None]
    expected = torch.stack([kind(outputs[0, [0, 1, 3]]).mean(0), kind(outputs[1, 3:]).mean(0)])
    torch.testing.assert_close(kind(kind.averaged(outputs, counted)), expected, atol=1e-5, rtol=1e-4)
    owner, windows = torch.tensor([0, 0, 1]), torch.randn(3, 6)
    pooled = kind.gathered(windows, target[[0, 0, 1]]).pooled(owner, target[:2])
    torch.testing.assert_close(pooled.answers[0], kind(windows[:2]).mean(0), atol=1e-5, rtol=1e-4)


def test_thresholds_of_each_target_travel_with_the_weights_and_into_an_average() -> None:
    kind, outputs, target = made()
    kind.learned(kind.gathered(outputs, target))
    assert isinstance(kind.kinds[1], Multilabel)
    thresholds = kind.kinds[1].thresholds
    assert not torch.equal(thresholds, torch.full((2,), 0.5))
    again = kind_of(KindCard(**kind.card()))
    again.load_state_dict(kind.state_dict())
    assert again.use() == kind.use()
    averaged = copy.deepcopy(kind)  # as an average of the weights begins
    averaged.get_submodule("parts.1").thresholds.fill_(0.25)
    assert averaged.use()["tasks"][1]["thresholds"] == [0.25, 0.25]
    assert kind.use()["tasks"][1]["thresholds"] == thresholds.tolist()


def test_targets_of_other_data_come_in_the_models_order_and_an_unknown_class_is_named() -> None:
    kind, _, _ = made()
    other = PartNames([Part("mood", "classify", ("sad", "happy")), *NAMES.parts[1:]])
    assert kind.as_learned(other, RAW[:2])[:, 0].tolist() == [1, 0]
    strange = PartNames([Part("mood", "classify", ("angry", "happy", "sad")), *NAMES.parts[1:]])
    with pytest.raises(UserError, match="mood: the data has a class 'angry'"):
        kind.as_learned(strange, RAW)


def test_what_is_learned_is_said_and_recorded() -> None:
    assert said_of("multitask", NAMES) == "mood (3 classes), seen (2 labels), age (a number)"
    assert text_of("multitask", tuple(RAW[2].tolist()), NAMES) == "calm; beard|hat; 30.0"
    assert NAMES == ("mood/happy", "mood/sad", "mood/calm", "seen/hat", "seen/beard", "age/age")


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([0, 1, 3], "no training sample has mood 'calm'"),
        ([0, 1, 2], None),
        ([2, 2, 2], "no training sample has mood 'happy'"),
    ],
)
def test_a_target_that_training_samples_do_not_show_is_refused(rows: list[int], line: str | None) -> None:
    targets = [tuple(row) for row in RAW[rows].tolist()]
    if line is None:
        refuse_single("data.csv", "multitask", targets, names=NAMES)
        return
    with pytest.raises(UserError, match=f"data.csv: {line}"):
        refuse_single("data.csv", "multitask", targets, names=NAMES)


def test_the_columns_of_several_targets_are_read_side_by_side() -> None:
    header = ["file", "mood", "hat", "beard", "age"]
    rows = [["a", "sad", "1", "0", "20"], ["b", "happy", "0", "1", "30.5"], ["c", "", "0", "1", "30"]]
    table = Table(header, list(enumerate(rows, start=2)), [])
    wanted = Wanted.of("classify,multilabel,regress", "mood,hat+beard,age")
    found = SeveralColumns(Path("x.csv"), table, wanted)
    assert found.names == ("mood/happy", "mood/sad", "hat+beard/hat", "hat+beard/beard", "age/age")
    assert found.read(2, rows[0], "a") == ("sad|1|0|20", (1.0, 1.0, 0.0, 20.0))
    assert found.read(3, rows[1], "b")[1] == (0.0, 0.0, 1.0, 30.5)
    with pytest.raises(UserError, match=r"x.csv:4: c has no class"):
        found.read(4, rows[2], "c")


@pytest.mark.parametrize("target", ["loss", "error", "mae", "wer"])
def test_the_name_of_a_target_does_not_say_which_way_its_figures_are_better(target: str) -> None:
    assert not lower_is_better(f"{target}/accuracy")
    assert lower_is_better(f"val/{target}/rmse")


def test_the_sum_of_losses_is_of_modules_without_parameters_of_their_own() -> None:
    kind, _, target = made()
    loss = kind.loss_of(settings(loss="focal,bce,mse", balance="weights"), target, torch.device("cpu"))
    assert not list(loss.parameters())
    assert not nn.Module.state_dict(loss)
    assert isinstance(loss.total.losses[0], Focal)
    assert loss.total.losses[0].alpha is not None
