"""Clips that the program makes, so that the command has something to learn: six kinds, each with its own draws."""

from math import pi
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ptapp_audio.data.clips import Clips
from ptapp_core.data.draws import Draws
from ptapp_core.data.listing import Listing
from ptapp_core.data.targets import CLASSIFY, MULTILABEL, REGRESS

CLASSES: tuple[str, ...] = ("chirp", "modulated", "noise", "pluck", "pulses", "tone")
PER_CLASS = 60
SECONDS = 1.0
_SHARE = 0.35  # of the mixtures that have one of the classes
_STEADY = (1, 5)  # the classes whose pitch stays: modulated, tone


def made(rate: int, kind: str = CLASSIFY) -> tuple[Listing, Clips, int]:
    """Chirps, modulated tones, noise bands, plucked strings, pulses and tones: 60 of each, 1 s, with some noise.

    The kind of the targets says what is to be learned of them: which of these a clip is, which are in a mixture,
    or the pitch of tones in octaves above 150 Hz.
    """
    labels = torch.arange(len(CLASSES)).repeat_interleave(PER_CLASS)
    draws = Draws(0, 0, torch.arange(len(labels)))
    size = round(rate * SECONDS)
    time = torch.arange(size) / rate
    low = 150.0 * (min(rate / 2, 4000.0) * 0.8 / 150.0) ** draws.uniform("pitch")  # Hz, even over the octaves
    makers = (_chirp, _modulated, _noise, _pluck, _pulses, _tone)
    present = functional.one_hot(labels, len(CLASSES)).bool()
    if kind == MULTILABEL:
        present = draws.chance("present", _SHARE, len(CLASSES))
    elif kind == REGRESS:
        present = torch.zeros(len(labels), len(CLASSES), dtype=torch.bool)
        present[torch.arange(len(labels)), torch.tensor([_STEADY[row % 2] for row in range(len(labels))])] = True
    waves = torch.zeros(len(labels), size)
    for label, make in enumerate(makers):
        rows = present[:, label].nonzero().flatten()
        if len(rows):
            waves[rows] += make(time, low[rows], Draws(1, label, rows), rate)
    waves = waves / waves.abs().amax(1, keepdim=True).clamp(min=1e-6)
    waves = waves * draws.uniform("level", 1, low=0.1, high=0.8)
    waves = waves + draws.uniform("hiss", 1, low=0.001, high=0.02) * _white(draws, size)
    samples = (waves.clamp(-1, 1) * 32767).round().to(torch.int16)
    targets, classes = labels, CLASSES
    if kind == MULTILABEL:
        targets = present.double()
    elif kind == REGRESS:
        targets, classes = (low / 150.0).log2().double()[:, None], ("octaves",)
    names = [
        f"{CLASSES[label]} {row}" if kind == CLASSIFY else f"clip {row}" for row, label in enumerate(labels.tolist())
    ]
    starts = torch.arange(len(labels)) * size
    clips = Clips(samples.flatten(), starts, torch.full_like(starts, size), targets, names)
    own = targets.tolist() if kind == CLASSIFY else [tuple(row) for row in targets.tolist()]
    files, what = [Path(name) for name in names], "clips made by the program"
    return Listing(Path("."), what, files, names, own, classes, kind=kind), clips, rate


def _white(draws: Draws, size: int) -> Tensor:
    """Nearly Gaussian noise of deviation one: a sum of three uniform numbers."""
    return sum(draws.uniform(f"white {part}", size, low=-1.0) for part in range(3)) * torch.ones(())


def _tone(time: Tensor, pitch: Tensor, draws: Draws, rate: int) -> Tensor:
    phase = draws.uniform("phase", 1, high=2 * pi)
    return (2 * pi * pitch[:, None] * time + phase).sin()


def _chirp(time: Tensor, pitch: Tensor, draws: Draws, rate: int) -> Tensor:
    """The pitch rises or falls by one to two octaves."""
    octaves = draws.uniform("octaves", 1, low=1.0, high=2.0) * (1.0 - 2.0 * draws.chance("falls", 0.5, 1).float())
    start = (pitch / 2)[:, None].clamp(min=100.0)
    return (2 * pi * start * (2.0 ** (octaves * time) - 1.0) / (octaves * 0.6931472)).sin()


def _modulated(time: Tensor, pitch: Tensor, draws: Draws, rate: int) -> Tensor:
    """A tone that swells and fades 4 to 12 times a second."""
    depth = 0.5 - 0.5 * (2 * pi * draws.uniform("rate", 1, low=4.0, high=12.0) * time).cos()
    return depth * _tone(time, pitch, draws, rate)


def _noise(time: Tensor, pitch: Tensor, draws: Draws, rate: int) -> Tensor:
    """White noise through a band of half an octave around the pitch."""
    spectrum = torch.fft.rfft(_white(draws, len(time)))
    frequency = torch.fft.rfftfreq(len(time), 1 / rate).clamp(min=1.0)
    band = (-(((frequency / pitch[:, None]).log2() / 0.3) ** 2)).exp()
    return torch.fft.irfft(spectrum * band, n=len(time))


def _pulses(time: Tensor, pitch: Tensor, draws: Draws, rate: int) -> Tensor:
    """Short clicks, 3 to 10 a second."""
    each = draws.uniform("each", 1, low=3.0, high=10.0)
    since = (time * each + draws.uniform("offset", 1)) % 1.0 / each
    return (-since * 300.0).exp() * (2 * pi * pitch[:, None].clamp(min=600.0) * since).sin()


def _pluck(time: Tensor, pitch: Tensor, draws: Draws, rate: int) -> Tensor:
    """A string that is plucked two to four times: harmonics, the higher the quicker gone."""
    pitch = (pitch / 3)[:, None].clamp(min=90.0)
    each = draws.uniform("plucks", 1, low=2.0, high=4.0)
    since = (time * each + draws.uniform("offset", 1)) % 1.0 / each
    harmonics = [(-since * 5.0 * n).exp() * (2 * pi * n * pitch * since).sin() / n for n in range(1, 7)]
    return torch.stack(harmonics).sum(0)
