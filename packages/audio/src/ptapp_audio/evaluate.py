"""What a model says of whole recordings, by the windows that cover them."""

from torch import nn

from ptapp_audio.data.clips import Clips, Windows
from ptapp_core.kinds.kind import Predictions, kind_in
from ptapp_core.machine.runtime import Runtime


def predict_clips(
    model: nn.Module, clips: Clips, window: int, *, runtime: Runtime, batch_size: int = 64
) -> Predictions:
    """What a model in eval mode says of every whole clip: the mean prediction of the windows that cover it."""
    windows = Windows(clips, window)
    return kind_in(model).predict(model, windows, runtime, batch_size=batch_size).pooled(windows.owner, clips.labels)
