"""What a model says of whole recordings, by the windows that cover them."""

from collections.abc import Mapping

from torch import nn

from ptapp_audio.data.clips import Clips, Windows
from ptapp_core.kinds.kind import VectorKind, VectorPredictions, kind_in
from ptapp_core.machine.runtime import Runtime


def predict_clips(
    model: nn.Module, clips: Clips, window: int, *, runtime: Runtime, batch_size: int = 64
) -> VectorPredictions:
    """What a model in eval mode says of every whole clip: the mean prediction of the windows that cover it."""
    windows = Windows(clips, window)
    predictions = _kind_in(model).predict(model, windows, runtime, batch_size=batch_size)
    return predictions.pooled(windows.owner, clips.labels)


def measure_clips(
    model: nn.Module, clips: Clips, window: int, *, runtime: Runtime, loss: nn.Module
) -> Mapping[str, float]:
    """The figures of the validation clips, by the loss that the model learns from."""
    return _kind_in(model).learned(predict_clips(model, clips, window, runtime=runtime)).figures(loss)


def _kind_in(model: nn.Module) -> VectorKind:
    kind = kind_in(model)
    assert isinstance(kind, VectorKind), "windows have answers that can be averaged"
    return kind
