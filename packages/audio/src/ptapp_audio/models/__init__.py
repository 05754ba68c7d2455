"""The audio models by name."""

from typing import Any

from ptapp_audio.config import MODELS
from ptapp_audio.models.cnn import CNN
from ptapp_audio.models.crnn import CRNN
from ptapp_audio.models.network import Network
from ptapp_audio.models.own import own_network
from ptapp_audio.models.transformer import SpectrogramTransformer
from ptapp_audio.models.wav2vec2 import Wav2Vec2
from ptapp_core.errors import UserError, nearest
from ptapp_core.settings.own import is_own

__all__ = ["CNN", "CRNN", "Network", "SpectrogramTransformer", "Wav2Vec2", "build"]


def build(name: str, *, classes: int, shape: tuple[int, int], **options: Any) -> Network:
    """The model `name`: of a spectrogram (N, bands, frames), `shape` (bands, frames), or, wav2vec2, of a waveform.

    `options` are its own keywords; a network of the user's own, `module:Class`, has none.

    Raises UserError for an unknown name, or features too small.
    """
    if is_own(name):
        return own_network(name, classes=classes, shape=shape, **options)
    if name not in MODELS:
        raise UserError(f"unknown model {name!r}{nearest(name, MODELS)}")
    if name == "crnn" and shape[0] < 16:
        raise UserError(f"--model crnn needs at least 16 bands, not --mels {shape[0]}")
    match name:
        case "cnn":
            return CNN(classes=classes, **options)
        case "crnn":
            return CRNN(classes=classes, bands=shape[0], **options)
        case "transformer":
            return SpectrogramTransformer(classes=classes, shape=shape, **options)
    return Wav2Vec2(classes=classes, **options)
