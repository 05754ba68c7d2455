"""A loss of the user's own: tried before training, measured as it is trained, and refused where it does not fit."""

from pathlib import Path

import pytest
import torch
from torch import nn

from extending.own import error_of, words
from ptapp_core.kinds.classify import predict
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.own import OwnLoss

pytestmark = pytest.mark.slow


def test_the_loss_of_an_evaluation_is_that_of_its_logits() -> None:
    def squares(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (logits - 9).square().sum(1) + target

    model, data = nn.Linear(4, 3), {"input": torch.randn(20, 4), "target": torch.arange(20) % 3}
    got = predict(model, data, Runtime("cpu", "fp32")).loss(OwnLoss(squares))
    assert got == pytest.approx(squares(model(data["input"]), data["target"]).mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("nowhere.py:f", "there is no file nowhere.py"),
        ("own_wrong:absent", "there is no such function"),
        ("own_wrong:number", "there is no such function"),
        ("own_wrong:mean", "is no sum over samples: "),
        ("torch.nn:CrossEntropyLoss", "is no sum over samples: "),
        ("own_wrong:matrix", "returns a tensor (4, 3) float32 of logits (4, 3) and targets (4,) int64, where the sum"),
        ("own_wrong:counted", "has no gradient by the logits"),
        ("own_wrong:plain", "returns a float of logits (4, 3) and targets (4,) int64, where"),
        ("own_wrong:other", "fails on logits (4, 3) and targets (4,) int64: TypeError: "),
        ("own_wrong:Needs", "cannot be made: TypeError: "),
        ("own_wrong:Learning", "has parameters, and a loss does not learn"),
    ],
)
@pytest.mark.parametrize("domain", ["vision", "audio"])
def test_a_loss_that_does_not_fit_is_refused_in_one_line(
    domain: str, loss: str, says: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert error_of(words(domain, place, "--loss", loss), capsys).startswith(f"ptapp: error: --loss {loss}: {says}")
    assert not (place / "runs").exists()


def test_a_loss_is_tried_with_probabilities_where_images_are_mixed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says = "--loss own_wrong:hard: fails on logits (4, 3) and targets (4, 3) float32: "
    assert says in error_of(words("vision", place, "--loss", "own_wrong:hard", "--mixup", "0.2"), capsys)


@pytest.mark.parametrize(
    ("domain", "options", "says"),
    [
        ("vision", "--no-se", "--se is an option of the resnets, not of --model own_images.py:Net"),
        ("vision", "--pretrained", "--pretrained does nothing here: it is for networks of ptapp, not for your own"),
        ("vision", "--no-channels-last", "--no-channels-last does nothing here: it is for networks of ptapp"),
        ("audio", "--width 16", "--width does nothing here: it is for networks of ptapp, not for your own"),
        ("audio", "--dropout 0.5", "--dropout does nothing here: it is for networks of ptapp, not for your own"),
        ("vision", "--label-smoothing 0.1", "--label-smoothing does nothing here: it is for --loss cross-entropy"),
        ("audio", "--label-smoothing 0.1", "--label-smoothing does nothing here: it is for --loss cross-entropy"),
        ("vision", "--balance weights", "--balance weights is of the built-in losses, not of own_images:hinge"),
        ("audio", "--balance weights", "--balance weights is of the built-in losses, not of own_sounds:hinge"),
        ("vision", "--model autoencoder", "--loss own_images:hinge is of outputs and targets, not for --model autoenc"),
        ("vision", "--loss hing", "--loss hing: unknown value"),
        ("audio", "--loss hing", "--loss hing: unknown value"),
    ],
)
def test_options_of_built_in_networks_and_losses_are_refused(
    domain: str, options: str, says: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in error_of(words(domain, place, *options.split()), capsys)
