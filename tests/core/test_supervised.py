"""The settings of jobs with targets: which losses, weights and options fit which kind."""

import pytest
from pydantic import ValidationError

from ptapp_audio.config import TrainAudio
from ptapp_core.errors import UserError
from ptapp_core.settings.supervised import LOSSES, SupervisedSettings
from ptapp_nlp.config import TrainNLP
from ptapp_vision.config import TrainVision

DOMAINS = [TrainAudio, TrainNLP, TrainVision]


@pytest.mark.parametrize("settings", DOMAINS)
@pytest.mark.parametrize("task", list(LOSSES))
def test_each_kind_takes_its_own_losses_and_refuses_the_others_by_name(
    settings: type[SupervisedSettings], task: str
) -> None:
    for loss in dict.fromkeys(loss for losses in LOSSES.values() for loss in losses):
        if loss in LOSSES[task]:
            assert settings.resolve(None, {"task": task, "loss": loss}).loss == loss
        else:
            with pytest.raises(UserError, match=f"--loss {loss} does not fit --task {task}: use {LOSSES[task][0]}"):
                settings.resolve(None, {"task": task, "loss": loss})


@pytest.mark.parametrize("settings", DOMAINS)
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"task": "regress", "balance": "weights"}, "--balance weights is for classes, not for --task regress"),
        ({"task": "regress", "label_smoothing": 0.1}, "--label-smoothing does nothing here"),
        ({"task": "multilabel", "label_smoothing": 0.1}, "--label-smoothing does nothing here"),
        ({"task": "regression"}, "--task"),
        ({"loss": "focal", "label_smoothing": 0.1}, "leave it or --loss focal out"),
    ],
)
def test_options_of_another_kind_are_refused(
    settings: type[SupervisedSettings], options: dict[str, object], line: str
) -> None:
    with pytest.raises((UserError, ValidationError), match=line):
        settings.resolve(None, options).refuse_idle()
