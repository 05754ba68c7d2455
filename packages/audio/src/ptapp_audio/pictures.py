"""Pictures of audio: the mistakes of a classifier, a recording with its time line, and all features of a sound."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ptapp_audio.config import FeaturesAudio
from ptapp_audio.data.clips import Clips
from ptapp_audio.data.read import FULL_SCALE
from ptapp_audio.features.spectral import LogMel
from ptapp_core.kinds.kind import Kind, Mistake, heading
from ptapp_core.measure.report import GREY, INK, clip, save

_COLUMNS = 5
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")  # Okabe and Ito
_AXES = {
    "mfcc": "coefficient",
    "chroma": "pitch class",
    "centroid": "Hz",
    "bandwidth": "Hz",
    "roll_off": "Hz",
    "zero_crossing_rate": "share of samples",
}
_COLOURED = {"log_mel": "dB", "mfcc": "from 1 on", "chroma": "of the strongest", "scalogram": "dB"}
_MOST_FRAMES = 4000  # that are drawn, and twice as many samples
_MOST_LINES = 8  # classes of a time line that are drawn


def mistakes(clips: Clips, found: Sequence[Mistake], rate: int, *, out: Path, most: int = 20) -> Path:
    """Draw the spectrograms of the clips that the model got wrong, the worst first, and write the sheet as PNG.

    Under each stands what is true and what the model said, and below it the clip's name. Without a mistake the sheet
    says so. `rate` is that of the clips, `most` the greatest number of clips that are drawn.
    """
    shown = found[:most]
    rows = -(-len(shown) // _COLUMNS)
    figure = Figure(figsize=(2.5 * _COLUMNS, 2.2 * rows + 0.5), layout="constrained")
    figure.suptitle(heading(found, len(shown), len(clips), noun="clip"), x=0.01, ha="left", fontsize=12, color=INK)
    for place, (row, caption) in enumerate(shown, start=1):
        start, length = int(clips.starts[row]), int(clips.lengths[row])
        axes = figure.add_subplot(rows, _COLUMNS, place)
        spectrogram(axes, clips.samples[start : start + length], rate, small=True)
        axes.set_xlabel(f"{caption}\n{clip(clips.names[row][-30:], 30)}", fontsize=8, color=INK, parse_math=False)
    return save(figure, out)


def spectrogram(axes: Axes, samples: Tensor, rate: int, *, small: bool = False) -> None:
    """The log-mel spectrogram of int16 (samples,) with axes in seconds and Hz (`small`: without)."""
    columns = 200 if small else 800
    hop = max(len(samples) // columns, rate // 200)
    n_fft = 2 ** (max(int(0.04 * rate), 64) - 1).bit_length()
    bands = 48 if small else 96
    wave = samples.float()[None] / FULL_SCALE
    decibels = LogMel(rate, n_fft, hop, n_mels=bands, fmin=30.0)(wave)[0].numpy()
    seconds = len(samples) / rate
    top = float(decibels.max())
    axes.imshow(
        decibels, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, bands), vmin=top - 70, vmax=top
    )
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9, length=2)
    if small:
        axes.set(xticks=[], yticks=[])
        return
    _mark_hertz(axes, _slaney, (30.0, rate / 2), bands)


def _mark_hertz(axes: Axes, scale: Callable[[float], float], ends: tuple[float, float], bands: int) -> None:
    """Hz at the axis of bands that lie evenly on a scale between two frequencies."""
    low, high = map(scale, ends)
    wanted = [value for value in (50, 100, 250, 500, 1000, 2000, 4000, 8000, 16000) if ends[0] <= value <= ends[1]]
    axes.set_yticks([(scale(value) - low) / (high - low) * bands for value in wanted], [_hertz(v) for v in wanted])
    axes.set_ylabel("Hz", fontsize=9, color=INK)


def timeline(
    samples: Tensor, rate: int, at: Sequence[float], *, width: float, values: Tensor, kind: Kind, out: Path, title: str,
) -> Path:  # fmt: skip
    """Draw a recording's spectrogram with what the model says of each window under it, and write it as PNG.

    Args:
        samples: int16 (samples,).
        rate: of them.
        at: seconds at which the M windows begin.
        width: of a window, in seconds.
        values: (M, K), what the kind gives for each.
        kind: of the model. The likeliest class is marked in a band; labels and numbers have their curves alone.
        out: the PNG file.
        title: stands above it.
    """
    seconds = len(samples) / rate
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    banded, shares = kind.like == "classify", kind.like != "regress"
    ratios = (3.2, 0.32, 2) if banded else (3.2, 2)
    above, *bands, below = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    spectrogram(above, samples, rate)
    above.set_title(clip(title, 80), loc="left", fontsize=11, color=INK, parse_math=False)
    wins = values.argmax(1).bincount(minlength=values.shape[1])
    often = (wins + values.amax(0)).argsort(descending=True)[:_MOST_LINES].tolist()
    if shares:
        often = [label for label in often if float(values[:, label].max()) >= 0.1]
    middle = np.clip(np.array(at) + width / 2, 0, seconds)
    edges = np.concatenate([[0.0], (middle[1:] + middle[:-1]) / 2, [seconds]])
    colours = {label: _COLOURS[number % len(_COLOURS)] for number, label in enumerate(often)}
    for band in bands:
        for first, last, label in _runs(values.argmax(1).tolist()):
            left, right = edges[first], edges[last + 1]
            band.axvspan(left, right, color=colours.get(label, GREY), linewidth=0)
            name = clip(kind.names[label], 24)
            if (right - left) / seconds * 110 > len(name):
                band.text((left + right) / 2, 0.5, name, ha="center", va="center", fontsize=8, color="white")
        band.set(yticks=[], ylim=(0, 1))
    for label in often:
        own = values[:, label].numpy()
        below.plot(
            [0, *middle, seconds], [own[0], *own, own[-1]], color=colours[label], linewidth=1.6,
            label=clip(kind.names[label], 24),
        )  # fmt: skip
    below.set(xlim=(0, seconds), **({"ylim": (-0.02, 1.04)} if shares else {}))
    below.set_ylabel("probability" if shares else "value", fontsize=9, color=INK)
    below.set_xlabel("seconds", fontsize=9, color=INK)
    below.grid(color="#E6E6E6", linewidth=0.8)
    below.tick_params(colors=INK, labelsize=9, length=2)
    for axes in (*bands, below):
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    above.tick_params(labelbottom=False)
    below.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.02))
    return save(figure, out)


def all_features(
    samples: Tensor, rate: int, settings: FeaturesAudio, *, found: Mapping[str, npt.NDArray[Any]], out: Path, title: str
) -> Path:
    """Draw the features of a sound, those of many bands as pictures and those of one as curves, and write it as PNG.

    Of a long sound only some frames are drawn, and of its samples the lowest and highest of each of many parts.
    `samples` are (samples,), in steps of int16, and each feature that was `found` is float (bands, frames).
    """
    seconds, hop = len(samples) / rate, settings.hop
    scales: dict[str, tuple[Callable[[float], float], tuple[float, float]]] = {
        "log_mel": (_slaney, (settings.fmin, settings.fmax or rate / 2)),
        "scalogram": (np.log, (50.0, 0.45 * rate)),
    }
    names = [name for name in found if name not in ("spectrogram", "mel")]
    rows = -(-(1 + len(names)) // 2)
    figure = Figure(figsize=(12, 1.9 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, sharex=True).flatten()
    grid[0].plot(*_outline(samples.float().numpy() / FULL_SCALE, rate), color=_COLOURS[0], linewidth=0.5)
    grid[0].set_title(clip(title, 60), loc="left", fontsize=10, color=INK, parse_math=False)
    grid[0].set_ylabel("of full scale", fontsize=9, color=INK)
    for axes, name in zip(grid[1:], names, strict=False):
        thin = -(-found[name].shape[1] // _MOST_FRAMES)
        values, end = found[name][:, ::thin], found[name].shape[1] * hop / rate
        if len(values) == 1:
            axes.plot(np.arange(values.shape[1]) * thin * hop / rate, values[0], color=_COLOURS[1], linewidth=1.2)
        else:
            shown = 20 * np.log10(np.maximum(values, 1e-4 * values.max() + 1e-12)) if name == "scalogram" else values
            first = 1 if name == "mfcc" else 0  # the 0th is the level, and would hide the others
            extent = (0, end, first, len(shown))
            axes.imshow(shown[first:], origin="lower", aspect="auto", cmap="magma", extent=extent)
        unit = f" ({_COLOURED[name]})" if name in _COLOURED else ""
        axes.set_title(name.replace("_", " ") + unit, loc="left", fontsize=10, color=INK)
        if name in scales:
            _mark_hertz(axes, *scales[name], len(values))
        else:
            axes.set_ylabel(_AXES[name], fontsize=9, color=INK)
    for axes in grid:
        axes.set_xlim(0, seconds)
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=INK, labelsize=8, length=2)
    for axes in grid[len(names) + 1 :]:
        axes.set_visible(False)
    for axes in grid[max(len(names) - 1, 0) : len(names) + 1]:  # the lowest of each column
        axes.set_xlabel("seconds", fontsize=9, color=INK)
        axes.tick_params(labelbottom=True)
    return save(figure, out)


def _outline(wave: npt.NDArray[Any], rate: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(seconds, values) of a waveform, where it is long the lowest and highest value of parts of equal length."""
    part = len(wave) // _MOST_FRAMES
    if part < 2:
        return np.arange(len(wave)) / rate, wave
    parts = wave[: len(wave) // part * part].reshape(-1, part)
    return np.arange(2 * len(parts)) * part / 2 / rate, np.stack([parts.min(1), parts.max(1)], 1).flatten()


def _runs(values: Sequence[int]) -> list[tuple[int, int, int]]:
    """(first, last, value) of each stretch of equal values."""
    runs: list[tuple[int, int, int]] = []
    for place, value in enumerate(values):
        if runs and runs[-1][2] == value:
            runs[-1] = (runs[-1][0], place, value)
        else:
            runs.append((place, place, value))
    return runs


def _slaney(hertz: float) -> float:
    """Slaney's mel: linear to 1 kHz, then logarithmic."""
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * float(np.log(hertz / 1000)) / float(np.log(6.4))


def _hertz(value: int) -> str:
    return f"{value // 1000}k" if value >= 1000 else str(value)
