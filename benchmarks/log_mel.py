"""Log-mel spectrograms of one-second clips: librosa, clip by clip, beside the module in batches.

python benchmarks/log_mel.py [threads]
"""

import sys
import time
from collections.abc import Callable

import librosa
import numpy as np
import torch

from ptapp_audio.features.spectral import LogMel

RATE, N_FFT, HOP, MELS, BATCH, CLIPS = 16_000, 512, 160, 64, 64, 512


def clips_a_second(work: Callable[[], object]) -> float:
    """The best of three passes over all clips, after one that does not count."""
    work()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return CLIPS / min(times)


def main(threads: int) -> None:
    """Prints both speeds, and the greatest difference in dB."""
    torch.set_num_threads(threads)
    waves = np.random.default_rng(0).standard_normal((CLIPS, RATE)).astype(np.float32)
    batches = torch.from_numpy(waves).split(BATCH)
    module = LogMel(RATE, N_FFT, HOP, n_mels=MELS)

    def by_librosa() -> list[object]:
        return [
            librosa.power_to_db(
                librosa.feature.melspectrogram(y=wave, sr=RATE, n_fft=N_FFT, hop_length=HOP, n_mels=MELS)
            )
            for wave in waves
        ]

    theirs, ours = clips_a_second(by_librosa), clips_a_second(lambda: [module(batch) for batch in batches])
    difference = np.abs(module(batches[0]).numpy() - np.stack(by_librosa()[:BATCH])).max()
    print(f"librosa {theirs:,.0f} clips/s, in batches {ours:,.0f} clips/s, {ours / theirs:.1f} times")
    print(f"{threads} threads; greatest difference {difference:.1e} dB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
