"""`ptapp audio train`, once or, with `--folds`, once for each fold with a summary."""

from pathlib import Path

from ptapp_audio.config import TrainAudio
from ptapp_audio.data.recognise import recognise
from ptapp_audio.train import train as train_once
from ptapp_core.errors import UserError
from ptapp_core.measure.cross_validation import cross_validate


def train(settings: TrainAudio) -> None:
    """Trains, or cross-validates: each fold is the test once, in a run of its own."""
    if settings.folds is None or settings.fold is not None:
        train_once(settings)
    else:
        cross_validate(settings, f"audio-{settings.model}", "made", train_once, _folds(settings))


def _folds(settings: TrainAudio) -> list[tuple[int, str]]:
    """Number and name of each fold: the data's own, which must be as many as asked for, or made ones."""
    assert settings.folds is not None
    if settings.data is not None:
        listing, _ = recognise(
            settings.data,
            split_by=settings.split_by,
            group_column=settings.group_column,
            skip_bad=settings.skip_bad,
        )
        if listing.folds is not None:
            own = sorted(set(listing.folds))
            if len(own) != settings.folds:
                raise UserError(
                    f"--folds {settings.folds}: {Path(settings.data)} has {len(own)} folds of its own; give that"
                )
            names = listing.fold_names
            return [(fold, f"{fold} ({names[fold - 1]})" if names else str(fold)) for fold in own]
    return [(fold, str(fold)) for fold in range(1, settings.folds + 1)]
