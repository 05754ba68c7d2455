"""`ptapp audio features`: the features of audio files as an npz and a drawing of each."""

import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ptapp_audio.config import FeaturesAudio
from ptapp_audio.data.read import FULL_SCALE, SOUNDS, Remarks, read
from ptapp_audio.data.unreadable import Unreadable
from ptapp_audio.features import spectral as features
from ptapp_audio.pictures import all_features
from ptapp_core.data.class_folders import files_named
from ptapp_core.data.unread import refuse_unread
from ptapp_core.errors import UserError
from ptapp_core.machine.memory import free_memory
from ptapp_core.machine.runtime import Runtime

_TOGETHER = 2**22  # samples of the frames of a block, each counted as often as frames hold it
_SCALOGRAM = 48  # bytes for each sample: three complex spectra and what they are multiplied by


def describe(settings: FeaturesAudio) -> None:
    """Writes NAME.npz and NAME.png of each file; files that cannot be read are named on stderr and the rest
    continue."""
    runtime = Runtime(settings.device, "fp32")
    files = list(files_named(settings.files, SOUNDS))
    unreadable, remarks = 0, Remarks()
    for number, file in enumerate(files):
        try:
            sound = read(file, settings.rate, rounded=False)
        except Unreadable as error:
            print(f"ptapp: {file}: {error}", file=sys.stderr)
            unreadable += 1
            continue
        remarks.add(file, sound)
        samples, rate = torch.from_numpy(sound.samples), sound.rate
        try:
            found = compute(samples, rate, settings, device=runtime.device)
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
        out = settings.out / (file.stem if len(files) == 1 else f"{file.stem}-{number}")
        out.parent.mkdir(parents=True, exist_ok=True)
        parameters = {"rate": rate, "hop": settings.hop, "n_fft": settings.n_fft}
        arrays: dict[str, Any] = {**parameters, **found}
        np.savez(out.with_name(out.name + ".npz"), **arrays)
        picture = all_features(
            samples, rate, settings, found=found, out=out.with_name(out.name + ".png"), title=file.name
        )
        bands = ", ".join(f"{name} {len(values)}" for name, values in found.items())
        frames = next(iter(found.values())).shape[1]
        print(f"{file}: {len(samples) / rate:.3g} s at {rate:,} Hz, {frames:,} frames; bands:")
        print(textwrap.fill(bands, 80, initial_indent="  ", subsequent_indent="  "))
        print(f"  {picture.with_suffix('.npz')}, {picture}")
    for line in remarks.lines():
        print(f"ptapp: note: {line}", file=sys.stderr)
    refuse_unread(settings.files, files, SOUNDS, unreadable=unreadable)


@torch.no_grad()
def compute(
    samples: Tensor, rate: int, settings: FeaturesAudio, *, device: torch.device
) -> dict[str, npt.NDArray[Any]]:
    """The chosen features of (samples,), int16 or float32 in its steps, as float32 (bands, frames) each.

    They are computed in blocks, but for the scalogram: beside these features, a long file takes no more memory than a
    short one. Raises UserError where it takes more than is free.
    """
    modules = {name: module.to(device) for name, module in _modules(rate, settings).items()}
    chosen = {name: modules[name] for name in settings.only or modules}
    few = samples[: settings.n_fft]
    bands = sum(len(_feature(module, few, settings, device)) for module in chosen.values())
    needed, free = 4 * bands * (1 + len(samples) // settings.hop), free_memory()
    if "scalogram" in chosen:
        needed += _SCALOGRAM * len(samples)
    if needed > free:
        raise UserError(
            f"the features of {len(samples) / rate:,.0f} s take {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB "
            "of memory are free: choose some with --only, or make --hop larger"
        )
    return {name: _feature(module, samples, settings, device) for name, module in chosen.items()}


def _modules(rate: int, settings: FeaturesAudio) -> dict[str, nn.Module]:
    n_fft, hop = settings.n_fft, settings.hop
    band: dict[str, Any] = {"n_mels": settings.mels, "fmin": settings.fmin, "fmax": settings.fmax}
    mel = features.Mel(rate, n_fft, hop, **band)
    features.refuse_empty_bands(mel, "--n-fft")
    return {
        "spectrogram": features.Spectrogram(n_fft, hop),
        "mel": mel,
        "log_mel": features.LogMel(rate, n_fft, hop, **band),
        "mfcc": features.MFCC(rate, settings.mfccs, n_fft, hop_length=hop, **band),
        "chroma": features.Chroma(rate, n_fft, hop),
        "scalogram": features.Scalogram(rate, hop_length=hop),
        "centroid": features.Centroid(rate, n_fft, hop),
        "bandwidth": features.Bandwidth(rate, n_fft, hop),
        "roll_off": features.RollOff(rate, n_fft, hop),
        "zero_crossing_rate": features.ZeroCrossingRate(n_fft, hop),
    }


def _feature(
    module: nn.Module, samples: Tensor, settings: FeaturesAudio, device: torch.device
) -> npt.NDArray[np.float32]:
    """The features (bands, frames), float32, that a module computes from (samples,), in steps of int16."""
    if isinstance(module, features.MFCC):
        basis: npt.NDArray[np.float32] = module.basis.cpu().numpy()
        return basis @ _feature(module.log_mel, samples, settings, device)
    if isinstance(module, features.LogMel):  # its floor lies below the loudest value of all blocks
        decibels = _in_blocks(module.decibels, samples, settings, device)
        return decibels if module.top_db is None else decibels.clip(min=decibels.max() - module.top_db)
    if isinstance(module, features.Scalogram):  # its highest wavelets end slowly: a block would show where it begins
        return module(samples.to(device).float()[None] / FULL_SCALE)[0].cpu().numpy()
    return _in_blocks(module, samples, settings, device)


def _in_blocks(
    compute: Callable[[Tensor], Tensor], samples: Tensor, settings: FeaturesAudio, device: torch.device
) -> npt.NDArray[np.float32]:
    """Equals `compute` of the whole recording: each block has as much of it on both sides as its frames see."""
    hop = settings.hop
    frames = max(1, _TOGETHER // max(settings.n_fft, hop))
    beside = -(-settings.n_fft // hop)  # frames
    parts = []
    for first in range(0, max(len(samples) // hop, 1), frames):
        start, end = max(first - beside, 0), first + frames + beside
        wave = samples[start * hop : end * hop].to(device).float()[None] / FULL_SCALE
        last = first + frames >= len(samples) // hop
        parts.append(compute(wave)[0, :, first - start :][:, : None if last else frames].cpu().numpy())
    return np.concatenate(parts, 1)
