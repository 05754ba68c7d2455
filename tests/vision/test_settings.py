"""The settings of `ptapp vision train`: what does not go together is refused, and what is chosen is used."""

import pytest
import torch

from ptapp_core.errors import UserError
from ptapp_core.jobs import fit_batch_size
from ptapp_core.kinds.classify import Classify
from ptapp_core.nn.losses import CrossEntropy, Focal
from ptapp_vision.config import TrainVision
from ptapp_vision.train import refuse_empty_shares


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"loss": "focal", "label_smoothing": 0.1}, "--label-smoothing is of cross-entropy: leave it or --loss focal"),
        ({"model": "autoencoder", "label_smoothing": 0.1}, "--model autoencoder learns without classes: leave --mixup"),
        ({"stem": "small"}, "--stem is an option of the resnets, not of --model fercnn"),
        (
            {"se": False, "model": "torchvision/resnet18"},
            "--se is an option of the resnets, not of --model torchvision/",
        ),
        ({"stochastic_depth": 0.2, "model": "autoencoder"}, "--stochastic-depth is an option of the resnets"),
        ({"pretrained": True, "weights": "w.pt", "model": "torchvision/resnet18"}, "--pretrained and --weights"),
        ({"sync_batchnorm": True, "activation_checkpointing": True}, "--sync-batchnorm and --activation-checkpointing"),
    ],
)
def test_options_that_would_do_nothing_or_break_are_refused(options: dict[str, object], line: str) -> None:
    with pytest.raises(UserError, match=line):
        TrainVision.resolve(None, options)


@pytest.mark.parametrize(
    ("task", "flip"), [("classify", True), ("multilabel", True), ("regress", False), ("classify,regress", False)]
)
def test_images_of_numbers_are_not_mirrored_unless_that_is_asked_for(task: str, flip: bool) -> None:
    columns = {"label_column": "a,b"} if "," in task else {}
    settings = TrainVision.resolve(None, {"task": task, "data": "m.csv", **columns})
    assert settings.flip == flip
    assert f"flip = {str(flip).lower()}" in settings.to_toml()
    assert TrainVision.resolve(None, {"task": task, "data": "m.csv", "flip": True, **columns}).flip


def test_options_of_the_resnets_are_theirs() -> None:
    settings = TrainVision.resolve(None, {"model": "resnet18", "stem": "small", "se": False})
    assert settings.network_options["se"] is False
    assert TrainVision.resolve(None, {"stem": "auto"}).network_options == {}  # the default, spelt out


@pytest.mark.parametrize(
    ("name", "kind", "weights"), [("cross-entropy", CrossEntropy, "weight"), ("focal", Focal, "alpha")]
)
def test_balanced_weights_reach_either_loss(name: str, kind: type, weights: str) -> None:
    settings = TrainVision.resolve(None, {"loss": name, "balance": "weights"})
    loss = Classify(["cat", "dog"]).loss_of(settings, torch.tensor([0, 0, 0, 1]), torch.device("cpu"))
    assert isinstance(loss, kind)
    torch.testing.assert_close(getattr(loss, weights), torch.tensor([4 / 6, 4 / 2]))


def test_a_small_set_gets_small_batches_which_the_record_holds() -> None:
    settings, note = fit_batch_size(TrainVision(), 128, 48)
    assert settings.batch_size == 12
    assert "batch_size = 12" in settings.to_toml()
    assert note == " (not the default 128: there are 48 training samples)"
    assert fit_batch_size(TrainVision(), 128, 128) == (TrainVision(), "")
    assert fit_batch_size(TrainVision(batch_size=64), 128, 48)[0].batch_size == 64  # the loader says no
    assert fit_batch_size(TrainVision(accumulate=20), 128, 48)[0].batch_size == 20


@pytest.mark.parametrize(("size", "accumulate", "ranks"), [(97, 1, 2), (99, 2, 2)])
def test_an_epoch_that_leaves_a_rank_without_a_sample_is_refused(size: int, accumulate: int, ranks: int) -> None:
    with pytest.raises(UserError, match="--batch-size 32 the last batch of an epoch has"):
        refuse_empty_shares(size, 32, accumulate, ranks=ranks)
    refuse_empty_shares(96, 32, accumulate, ranks=ranks)
    refuse_empty_shares(96 + accumulate * ranks, 32, accumulate, ranks=ranks)
    refuse_empty_shares(size, 32, accumulate, ranks=1)


def test_what_is_done_to_the_images_is_said() -> None:
    assert (
        TrainVision().augmentation == "half of the images mirrored (--no-flip for text, signs and the like), shift 0.08"
    )
    assert TrainVision(flip=False, shift=0, policy="randaugment", mixup=0.2).augmentation == "mixup 0.2, randaugment"
    assert TrainVision(flip=False, shift=0).augmentation == "none"
