"""`ptapp audio features`: the features of sound files as an npz and a drawing of each."""

import sys
import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ptapp_audio import features
from ptapp_audio.config import FeaturesAudio
from ptapp_audio.pictures import all_features
from ptapp_audio.read import FULL_SCALE, SOUNDS, Remarks, read
from ptapp_audio.unreadable import Unreadable
from ptapp_core.folders import files_named
from ptapp_core.runtime import Runtime
from ptapp_core.unread import refuse_unread


def describe(settings: FeaturesAudio) -> None:
    """Writes NAME.npz and NAME.png of each file; files that cannot be read are named on stderr and the rest go on."""
    runtime = Runtime(settings.device, "fp32")
    files = list(files_named(settings.files, SOUNDS))
    unreadable, remarks = 0, Remarks()
    for number, file in enumerate(files):
        try:
            sound = read(file, settings.rate)
        except Unreadable as error:
            print(f"ptapp: {file}: {error}", file=sys.stderr)
            unreadable += 1
            continue
        remarks.add(file, sound)
        samples, rate = sound.samples, sound.rate
        found = compute(samples, rate, settings, runtime.device)
        out = settings.out / (file.stem if len(files) == 1 else f"{file.stem}-{number}")
        out.parent.mkdir(parents=True, exist_ok=True)
        parameters = {"rate": rate, "hop": settings.hop, "n_fft": settings.n_fft}
        arrays: dict[str, Any] = {**parameters, **found}
        np.savez(out.with_name(out.name + ".npz"), **arrays)
        picture = all_features(samples, rate, settings.hop, found, out.with_name(out.name + ".png"), file.name)
        bands = ", ".join(f"{name} {len(values)}" for name, values in found.items())
        frames = next(iter(found.values())).shape[1]
        print(f"{file}: {len(samples) / rate:.3g} s at {rate:,} Hz, {frames:,} frames; bands:")
        print(textwrap.fill(bands, 80, initial_indent="  ", subsequent_indent="  "))
        print(f"  {picture.with_suffix('.npz')}, {picture}")
    for line in remarks.lines():
        print(f"ptapp: note: {line}", file=sys.stderr)
    refuse_unread(settings.files, files, SOUNDS, unreadable)


@torch.no_grad()
def compute(samples: Tensor, rate: int, settings: FeaturesAudio, device: torch.device) -> dict[str, npt.NDArray[Any]]:
    """Every feature of int16 (samples,), (bands, frames) each."""
    wave = (samples.float()[None] / FULL_SCALE).to(device)
    n_fft, hop = settings.n_fft, settings.hop
    band: dict[str, Any] = {"fmin": settings.fmin, "fmax": settings.fmax}
    mel = features.Mel(rate, n_fft, hop, settings.mels, **band)
    features.refuse_empty_bands(mel, "--n-fft")
    modules: dict[str, nn.Module] = {
        "spectrogram": features.Spectrogram(n_fft, hop),
        "mel": mel,
        "log_mel": features.LogMel(rate, n_fft, hop, settings.mels, **band),
        "mfcc": features.MFCC(rate, settings.mfccs, n_fft, hop, settings.mels, **band),
        "chroma": features.Chroma(rate, n_fft, hop),
        "scalogram": features.Scalogram(rate, hop_length=hop),
        "centroid": features.Centroid(rate, n_fft, hop),
        "bandwidth": features.Bandwidth(rate, n_fft, hop),
        "roll_off": features.RollOff(rate, n_fft, hop),
        "zero_crossing_rate": features.ZeroCrossingRate(n_fft, hop),
    }
    return {name: module.to(device)(wave)[0].cpu().numpy() for name, module in modules.items()}
