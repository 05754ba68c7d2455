"""Augmentation: draws by (seed, epoch, index), and that each operation does what it says."""

import pytest
import torch
from torch import Tensor

from ptapp_audio.features.augment import Augment, hidden_parts, hide, mix, place_windows
from ptapp_audio.features.stretch import pitch_shift, time_stretch
from ptapp_core.data.draws import Draws

RATE = 8000
ALL = Augment(stretch=0.2, pitch=3, gain=12, noise=0.7, snr=5)


def tones(hertz: list[float], seconds: float = 1.0) -> Tensor:
    time = torch.arange(int(RATE * seconds)) / RATE
    return 0.5 * (2 * torch.pi * torch.tensor(hertz)[:, None] * time).sin()


def pitch(x: Tensor) -> list[float]:
    """The strongest frequency of the middle of each."""
    part = x[:, RATE // 4 : RATE // 4 + RATE // 4] * torch.hann_window(RATE // 4)
    return (torch.fft.rfft(part, n=RATE * 4).abs().argmax(1) / 4).tolist()


def test_what_becomes_of_a_sample_depends_on_seed_epoch_and_index_alone() -> None:
    x, index = 0.1 * torch.randn(4, RATE, generator=torch.Generator().manual_seed(0)), torch.tensor([7, 3, 9, 0])
    whole = ALL(x, Draws(1, 2, index))
    order = torch.tensor([2, 0])
    for rows in (order, *torch.arange(4).split(1)):
        # Phases of faint bins are ill-conditioned, and a processor takes one row by other kernels than four.
        torch.testing.assert_close(ALL(x[rows], Draws(1, 2, index[rows])), whole[rows], rtol=0, atol=1e-4)
    for other in (Draws(2, 2, index), Draws(1, 3, index), Draws(1, 2, index + 1)):
        assert (ALL(x, other) - whole).abs().amax(1).min() > 0.01
    masks = hidden_parts(Draws(1, 2, index), 0.2, 0.3, masks=2)
    assert torch.equal(hidden_parts(Draws(1, 2, index[order]), 0.2, 0.3, masks=2), masks[order])
    lengths = torch.tensor([100, 5000, 8000, 30])
    at = place_windows(lengths, 1000, 0.1, draws=Draws(1, 2, index))
    assert torch.equal(place_windows(lengths[order], 1000, 0.1, draws=Draws(1, 2, index[order])), at[order])


def test_without_options_nothing_changes() -> None:
    x = tones([200, 300])
    assert torch.equal(Augment()(x, Draws(0, 0, torch.arange(2))), x)


def test_windows_lie_anywhere_in_a_long_clip_and_hold_a_short_one_whole() -> None:
    draws = Draws(0, 0, torch.arange(40_000))
    long = place_windows(torch.full((40_000,), 3000), 1000, 0.0, draws=draws)
    assert (int(long.min()), int(long.max())) == (0, 2000)
    short = place_windows(torch.full((40_000,), 300), 1000, 0.0, draws=draws)
    assert (int(short.min()), int(short.max())) == (-700, 0)
    assert place_windows(torch.full((40_000,), 1000), 1000, 0.0, draws=draws).unique().tolist() == [0]


@pytest.mark.parametrize("rate", [0.8, 1.0, 1.3])
def test_a_stretched_tone_keeps_its_pitch_and_changes_its_length(rate: float) -> None:
    x = torch.cat([tones([440.0, 1000.0], 0.5), torch.zeros(2, RATE // 2)], 1)
    y = time_stretch(x, torch.full((2,), rate))
    assert y.shape == x.shape
    assert pitch(y) == pytest.approx([440, 1000], abs=6)
    loud = (y.unfold(1, 80, 80).square().mean(2) > 0.02).sum(1) * 80 / RATE
    assert loud.tolist() == pytest.approx([0.5 / rate] * 2, abs=0.04)


def test_at_rate_one_the_vocoder_gives_the_sound_back() -> None:
    x = tones([440.0, 1000.0])
    torch.testing.assert_close(time_stretch(x, torch.ones(2)), x, atol=2e-3, rtol=0)


def test_a_shifted_tone_has_another_pitch_at_the_same_tempo() -> None:
    x = torch.cat([tones([440.0, 500.0, 600.0], 0.5), torch.zeros(3, RATE // 2)], 1)
    y = pitch_shift(x, torch.tensor([-4.0, 0.0, 5.0]), 5.0)
    assert pitch(y) == pytest.approx([440 * 2 ** (-4 / 12), 500, 600 * 2 ** (5 / 12)], abs=8)
    loud = (y.unfold(1, 80, 80).square().mean(2) > 0.02).sum(1) * 80 / RATE
    assert loud.tolist() == pytest.approx([0.5] * 3, abs=0.04)


def test_noise_has_the_drawn_level() -> None:
    x = tones([440.0] * 200)
    noise = Augment(noise=1.0, snr=6)(x, Draws(0, 0, torch.arange(200))) - x
    below = 10 * (x.square().mean(1) / noise.square().mean(1)).log10()
    assert below.min() == pytest.approx(6, abs=0.5)
    assert below.max() == pytest.approx(26, abs=0.5)
    some = Augment(noise=0.25, snr=6)(x, Draws(0, 0, torch.arange(200))) - x
    assert (some.abs().amax(1) > 0).float().mean() == pytest.approx(0.25, abs=0.1)


def test_masks_hide_bands_and_times_and_no_more() -> None:
    draws = Draws(0, 0, torch.arange(300))
    hidden = hide(torch.ones(300, 40, 100), hidden_parts(draws, 0.25, 0.5, masks=1)) == 0
    bands, times = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert bands.max() <= 11
    assert times.max() <= 51
    assert bands.float().mean() == pytest.approx(5, abs=0.7)
    assert times.float().mean() == pytest.approx(25, abs=3)
    assert torch.equal(hidden, hidden.all(2)[:, :, None] | hidden.all(1)[:, None, :])
    waveform = hide(torch.ones(300, 100), hidden_parts(draws, 0.25, 0.5, masks=1)) == 0
    assert torch.equal(waveform.sum(1), times)


def test_mixup_mixes_targets_as_sounds() -> None:
    x, targets = torch.eye(6), torch.eye(6)
    mixed, soft = mix(x, targets, Draws(0, 0, torch.arange(6)), alpha=0.4)
    assert torch.equal(mixed, soft)
    torch.testing.assert_close(soft.sum(1), torch.ones(6))
    assert (soft > 0).sum(1).max() == 2
