"""From a waveform to a class: spectrum, mel bands, decibels, and a linear layer on their means."""

import torch
from torch import Tensor, nn

from ptapp_audio.features.spectral import LogMel, Spectrogram

RATE, SECONDS = 8000, 0.5
CLASSES = ("tone", "chirp", "noise")


def sounds(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Waveforms, float32 (N, samples) from -1 to 1, and their classes, int64 (N,)."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(int(RATE * SECONDS)) / RATE
    pitch = 300 + 1500 * torch.rand(count, 1, generator=generator)
    tone, chirp = torch.sin(2 * torch.pi * pitch * time), torch.sin(2 * torch.pi * pitch * (time + time**2))
    noise = torch.rand(count, len(time), generator=generator) * 2 - 1
    kind = torch.randint(3, (count,), generator=generator)
    loudness = 0.05 + 0.95 * torch.rand(count, 1, generator=generator)
    x = torch.stack([tone, chirp, noise])[kind, torch.arange(count)]
    return loudness * (x + 0.1 * torch.randn(x.shape, generator=generator)), kind


(x, kind), (test_x, test_kind) = sounds(600, 1), sounds(300, 2)
wave = torch.sin(2 * torch.pi * 1000 * torch.arange(4000) / RATE)[None]
spectrum = Spectrogram(512, 128)(wave)
print(f"samples {wave.shape[1]}, spectrum {tuple(spectrum.shape[1:])}: bins of {RATE / 512:.3f} Hz, frames of 16 ms")
bin_ = int(spectrum[0].mean(1).argmax())
print(f"a tone of 1000 Hz is loudest in bin {bin_}: {bin_ * RATE / 512:.0f} Hz")
alias = torch.sin(2 * torch.pi * 7000 * torch.arange(4000) / RATE)[None]
print(f"a tone of 7000 Hz at this rate: {int(Spectrogram(512, 128)(alias)[0].mean(1).argmax()) * RATE / 512:.0f} Hz")
log_mel = LogMel(RATE, 512, 128, n_mels=32)
print(f"half the amplitude is {(log_mel(wave / 2).max() - log_mel(wave).max()).item():.2f} dB")


def described(x: Tensor, scaled: bool) -> Tensor:
    """Mean and deviation over time of each band, float (N, 64); `scaled`: relative to the loudest value of a sound."""
    bands = log_mel(x)
    if scaled:
        bands = bands - bands.amax((1, 2), keepdim=True)
    return torch.cat([bands.mean(2), bands.std(2)], 1)


for scaled in (False, True):
    torch.manual_seed(0)
    inputs, test = described(x, scaled), described(test_x / 30, scaled)  # the test was recorded at a low level
    mean, deviation = inputs.mean(0), inputs.std(0)  # of the training set alone
    layer = nn.Linear(64, 3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer((inputs - mean) / deviation), kind).backward()
        optimizer.step()
    answers = layer((test - mean) / deviation).argmax(1)
    name = "relative to the loudest" if scaled else "decibels as they are"
    print(f"{name}: {(answers == test_kind).float().mean():.1%} of quiet test sounds right")
    if scaled:
        for number, word in enumerate(CLASSES):
            shares = torch.bincount(answers[test_kind == number], minlength=3) / (test_kind == number).sum()
            print(f"  {word:<6}" + "".join(f"{share:6.2f}" for share in shares.tolist()))
