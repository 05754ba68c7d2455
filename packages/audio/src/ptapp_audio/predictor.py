"""A trained model of recordings, for `ptapp audio predict` and `ptapp.load`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptapp_audio.card import About
from ptapp_audio.data.clips import Clips
from ptapp_audio.data.read import from_array, read
from ptapp_audio.data.unreadable import Unreadable
from ptapp_audio.evaluate import predict_clips
from ptapp_audio.models.whole import rebuild
from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained, Which
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.finite import refuse_not_finite

Recording = str | Path | npt.NDArray[Any]
"""A file, or a waveform: floats or int16, (samples,) or (samples, channels)."""
_BATCH = 64


class Predictor:
    """The model of a run of `ptapp audio train`, with all that it takes to answer.

    Raises UserError where the directory holds no such run.
    """

    def __init__(self, run: Path, checkpoint: Which, runtime: Runtime) -> None:
        trained = Trained.find(run, "audio", About, which=checkpoint)
        card = trained.about.model
        self.made = trained.about.made
        """Whether the model learned from audio that the program made."""
        self.model = runtime.place(trained.load(rebuild))
        """int16 (N, samples) -> what its kind of target takes, (N, K)."""
        self.kind = self.model.kind
        """What the K outputs stand for, and what is said of them."""
        self.rate = card.rate
        """Samples a second that the model takes."""
        self.window = card.window
        """Samples of one of the model's windows."""
        self._runtime = runtime

    def predict(self, recordings: Sequence[Recording], *, rate: int | None = None) -> list[dict[str, Any]]:
        """An answer for each recording, by what the model was trained for.

        classify: the likeliest `class`, its `confidence`, and the `probabilities` of all classes by name; multilabel:
        the `labels` that reach their thresholds, and the `probabilities`; regress: the `values` by name; several
        targets: `targets`, the answer of each by its name.

        `rate` is that of waveforms, in samples a second; files have their own. Raises UserError for a recording that
        cannot be read, or for a waveform without `rate`.
        """
        if isinstance(recordings, str | Path):
            raise UserError("`predict` takes a list: give [file] for a single one")
        answers = []
        for place, recording in enumerate(recordings):
            samples = self._samples(recording, rate, place)
            answers.append(self.kind.answer(self.values(samples).tolist()))
        return answers

    def values(self, samples: Tensor) -> Tensor:
        """int16 (samples,) at the model's rate -> what the kind gives, (K,) on the CPU.

        It is the mean over the windows that cover the recording.
        """
        return predict_clips(self.model, self._alone(samples), self.window, runtime=self._runtime).answers[0]

    @torch.no_grad()
    def slide(self, samples: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """What the model says of windows every `step` samples of int16 (samples,).

        Returns:
            Where the windows begin, int64 (M,), the last one such that it ends with the recording; and what the model
            says of them, as the kind gives it, float32 (M, K).
        """
        last = max(len(samples) - self.window, 0)
        at = torch.arange(0, last + 1, step)
        if int(at[-1]) < last:
            at = torch.cat([at, torch.tensor([last])])
        clip = self._alone(samples)
        parts = []
        for start in at.split(_BATCH):
            windows = clip.windows(torch.zeros_like(start), start, self.window)
            with self._runtime.autocast():
                outputs = self.model(windows.to(self._runtime.device))
            parts.append(refuse_not_finite(self.kind(outputs.cpu())))
        return at, torch.cat(parts)

    def _samples(self, recording: Recording, rate: int | None, place: int) -> Tensor:
        name = f"recording {place}" if isinstance(recording, np.ndarray) else str(recording)
        try:
            if not isinstance(recording, np.ndarray):
                return torch.from_numpy(read(Path(recording), self.rate).samples)
            if rate is None:
                raise UserError(f"{name}: is a waveform; give its samples a second as rate=")
            return torch.from_numpy(from_array(recording, rate, self.rate).samples)
        except Unreadable as error:
            raise UserError(f"{name}: {error}") from error

    def _alone(self, samples: Tensor) -> Clips:
        """One clip, with a target at which nobody looks."""
        target = self.kind.from_columns(torch.zeros(1, self.kind.width))
        return Clips(samples, torch.zeros(1, dtype=torch.int64), torch.tensor([len(samples)]), target, ["recording"])
