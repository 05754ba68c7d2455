"""The sound models by name."""

from typing import Any

from ptapp_audio.models.cnn import CNN
from ptapp_audio.models.network import Network
from ptapp_core.errors import UserError, nearest

__all__ = ["Network", "build"]


def build(name: str, *, classes: int, shape: tuple[int, int], **options: Any) -> Network:
    """The model `name`: of a spectrogram (N, bands, frames), `shape` (bands, frames), or, wav2vec2, of a waveform.

    `options` are its own keywords. Raises UserError for an unknown name.
    """
    match name:
        case "cnn":
            return CNN(classes=classes, **options)
    raise UserError(f"unknown model {name!r}{nearest(name, ['cnn', 'crnn', 'transformer', 'wav2vec2'])}")
