"""The model that is trained, evaluated and exported: from a waveform to logits, features and windows inside."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_audio.card import Card, Front
from ptapp_audio.data.clips import Clips, spread
from ptapp_audio.data.read import FULL_SCALE, SILENT
from ptapp_audio.features.augment import hide
from ptapp_audio.features.spectral import LogMel
from ptapp_audio.models import Network, build
from ptapp_core.kinds.classify import Classify
from ptapp_core.kinds.kind import VectorKind
from ptapp_core.kinds.known import kind_of
from ptapp_core.nn.widths import set_widths

_QUIET = -60.0  # dB: below it a window counts as silence, and is not turned up
_LOOKED_AT = 256  # windows from which the statistics are taken
_TOGETHER = 16  # windows of these that are computed at a time


class LogMelFront(nn.Module):
    """Log-mel in dB below the loudest value of the window, so that the gain does not matter, then normalised.

    `mean` (mels, 1) and `std` (1,) are those of the training clips, and travel with the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, front: Front) -> None:
        super().__init__()
        self.log_mel = LogMel(front.rate, front.n_fft, front.hop, n_mels=front.mels, fmin=front.low)
        self.register_buffer("mean", torch.zeros(front.mels, 1))
        self.register_buffer("std", torch.ones(1))

    def decibels(self, x: Tensor) -> Tensor:
        """Waveforms (N, samples) to dB (N, mels, frames), 0 the loudest, -80 the floor; both float."""
        decibels: Tensor = self.log_mel(x / x.abs().amax(1, keepdim=True).clamp(min=SILENT))
        return decibels - decibels.amax((1, 2), keepdim=True).clamp(min=_QUIET)

    def forward(self, x: Tensor) -> Tensor:
        """Waveforms (N, samples) to normalised dB (N, mels, frames); both float."""
        return (self.decibels(x) - self.mean) / self.std

    def measure(self, batches: Iterable[Tensor]) -> None:
        """Takes the mean of each band, and the deviation from it, from waveforms, float (N, samples)."""
        count, total, squares = 0, torch.zeros(len(self.mean)).double(), torch.zeros(len(self.mean)).double()
        for x in batches:
            decibels = self.decibels(x).double()
            count += decibels.shape[0] * decibels.shape[2]
            total += decibels.sum((0, 2))
            squares += decibels.square().sum((0, 2))
        mean = total / count
        self.mean.copy_(mean[:, None])
        self.std.copy_((squares / count - mean.square()).mean().sqrt().clamp(min=1e-3))


class UnitFront(nn.Module):
    """Waveforms of mean zero and deviation one, as wav2vec2's own feature extractor makes them."""

    def forward(self, x: Tensor) -> Tensor:
        """Waveforms (N, samples) to the same of mean 0 and deviation 1; both float."""
        x = x - x.mean(1, keepdim=True)
        return x * (x.square().mean(1, keepdim=True) + 1e-7).rsqrt()

    def measure(self, batches: Iterable[Tensor]) -> None:
        """Takes nothing from the waveforms, float (N, samples): each is normalised by itself."""


class Waveform(nn.Module):
    """Waveforms (N, samples), int16 or float of -1 to 1, at the model's rate, to logits (N, K).

    In training the waveforms are windows of the model's length. In evaluation they may be of any length, of a sample
    and more: windows are spread evenly over the whole clip (see `clips.spread`), and what the kind makes of those that
    are not silent is averaged; of all of them, where all are silent.

    Args:
        front: (N, window) -> the network's input.
        network: -> logits.
        window: in samples.
        kind: what is made of the outputs; a classifier unless another is given.
    """

    def __init__(
        self, front: LogMelFront | UnitFront, network: Network, window: int, *, kind: VectorKind | None = None
    ) -> None:
        super().__init__()
        self.front, self.window, self.kind = front, window, kind or Classify(())
        self.network = network
        if network.channels_last:
            network.to(memory_format=torch.channels_last)  # convolutions are up to twice as quick

    def see(self, samples: Tensor) -> Tensor:
        """What the network takes of windows (N, window), int16 or float; float32 whatever the precision."""
        samples = _as_float(samples)
        if torch.compiler.is_exporting() or not torch.is_autocast_enabled(samples.device.type):
            features: Tensor = self.front(samples)
            return features
        with torch.autocast(samples.device.type, enabled=False):  # the powers span more than 16 bits hold
            features = self.front(samples.float())
            return features

    def forward(self, samples: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Waveforms (N, samples), int16 or float, to logits (N, K), float.

        `hidden`, float (N, 2, masks, 2), is what SpecAugment hides in training, see `augment.hide`.
        """
        if self.training:
            features = self.see(samples)
            logits: Tensor = self.network(features if hidden is None else hide(features, hidden))
            return logits
        length = samples.shape[1]
        traced = torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        if not traced and length <= self.window:
            padded = functional.pad(samples, (0, self.window - length))
            return self.network(self.see(padded)).float()
        count = (length - 1) // self.window + 2
        starts = (torch.arange(count, device=samples.device) * (length - self.window) // (count - 1)).clamp(min=0)
        place = starts[:, None] + torch.arange(self.window, device=samples.device)
        windows = _as_float(functional.pad(samples, (0, self.window))[:, place].flatten(0, 1))
        logits = self.network(self.see(windows)).float()
        logits = logits + 0.0 * windows.sum(1, keepdim=True)  # NaN where a sample is not finite; ONNX's GRU hides it
        silent = (windows.abs() < SILENT).all(1).view(-1, count, 1)
        return self.kind.averaged(logits.view(-1, count, logits.shape[1]), ~silent | silent.all(1, keepdim=True))

    @torch.no_grad()
    def measure(self, clips: Clips) -> None:
        """Takes the statistics of the features from training clips."""
        owner, at = spread(clips.lengths, self.window)
        rows = torch.arange(0, len(owner), -(-len(owner) // _LOOKED_AT)).split(_TOGETHER)
        self.front.measure(clips.windows(owner[few], at[few], self.window).float() / FULL_SCALE for few in rows)


def _as_float(samples: Tensor) -> Tensor:
    """Samples of -1 to 1, whether they are stored so or as int16."""
    return samples if samples.is_floating_point() else samples.float() / FULL_SCALE


def rebuild(card: Card) -> Waveform:
    """An untrained model of the form that a run's `meta.json` describes under "model"."""
    shape = (card.front.mels, 1 + card.window // card.front.hop)
    kind = kind_of(card)
    network = build(card.name, classes=kind.outputs, shape=shape, **card.options)
    if card.widths is not None:
        set_widths(network, card.widths)
    return Waveform(UnitFront() if network.hears else LogMelFront(card.front), network, card.window, kind=kind)
