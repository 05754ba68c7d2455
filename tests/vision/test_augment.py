"""Augmentation: each option does what it says, to each sample by itself."""

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from ptapp_core.data.draws import Draws, symmetric_beta
from ptapp_core.errors import UserError
from ptapp_vision.augment.batch import Augment, mix
from ptapp_vision.data.built_in import draw_faces

OPTIONS: list[dict[str, Any]] = [
    {"flip": True},
    {"shift": 0.1},
    {"crop": 4},
    {"rotation": 25.0},
    {"rotation": 25.0, "flip": True, "shift": 0.1, "crop": 2},
    {"erasing": 0.7},
    {"brightness": 0.5},
    {"contrast": 0.5},
    {"policy": "randaugment"},
    {"policy": "autoaugment"},
    {"policy": "trivialaugment"},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def draws(count: int, epoch: int = 0, seed: int = 0) -> Draws:
    return Draws(seed, epoch, torch.arange(count))


def pictures(count: int, channels: int = 1) -> Tensor:
    """Faces; in colour, each channel is another face."""
    return draw_faces(count * channels, seed=9, size=32)[0].view(count, channels, 32, 32)


def dots(count: int, size: int = 33) -> Tensor:
    """A white pixel in the middle of black."""
    images = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    images[:, :, size // 2, size // 2] = 255
    return images


def where_the_dots_went(images: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns, from the middle."""
    size = images.shape[-1]
    place = images.flatten(1).int().argmax(1)
    return place // size - size // 2, place % size - size // 2


@every_option
@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_does_not_depend_on_the_others_in_its_batch(options: dict[str, Any], channels: int) -> None:
    images = pictures(60, channels)
    augment = Augment(**options)
    whole = augment(images, draws(60))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augment(images[order], Draws(0, 0, order)), whole[order]), "in another order"
    parts = [augment(images[rows], Draws(0, 0, rows)) for rows in torch.arange(60).split([1, 2, 17, 40])]
    assert torch.equal(torch.cat(parts), whole), "in batches of other sizes"


@every_option
def test_the_same_draws_give_the_same_bits_and_another_epoch_or_seed_gives_others(options: dict[str, Any]) -> None:
    images = pictures(30)
    before = images.clone()
    augment = Augment(**options)
    result = augment(images, draws(30))
    assert result.dtype == torch.uint8
    assert result.shape == images.shape
    assert torch.equal(images, before), "the data set itself must stay as it is"
    assert torch.equal(result, augment(images, draws(30)))
    assert not torch.equal(result, augment(images, draws(30, epoch=1)))
    assert not torch.equal(result, augment(images, draws(30, seed=1)))


@pytest.mark.parametrize("option", ["flip", "shift", "crop", "rotation", "erasing", "brightness", "contrast"])
def test_options_that_are_off_change_nothing(option: str) -> None:
    images = pictures(10)
    assert torch.equal(Augment()(images, draws(10)), images)
    on: dict[str, Any] = next(options for options in OPTIONS if list(options) == [option])
    assert torch.equal(replace(Augment(**on), **{option: 0})(images, draws(10)), images)


def test_an_option_more_leaves_the_draws_of_the_others_as_they_were() -> None:
    images = dots(200)
    moved = where_the_dots_went(Augment(shift=0.1)(images, draws(200)))
    both = where_the_dots_went(Augment(shift=0.1, brightness=0.5)(images, draws(200)))
    assert torch.equal(moved[0], both[0])
    assert torch.equal(moved[1], both[1])


def test_half_of_the_images_are_mirrored_the_others_untouched() -> None:
    images = pictures(1).expand(2_000, -1, -1, -1)
    result = Augment(flip=True)(images, draws(2_000))
    mirrored = (result == images.flip(-1)).flatten(1).all(1)
    same = (result == images).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert abs(mirrored.float().mean() - 0.5) < 4 * sqrt(0.25 / 2_000)


def test_a_shift_is_uniform_up_to_the_share_of_the_side_and_the_same_for_all_pixels() -> None:
    images = dots(4_000)
    for moved in where_the_dots_went(Augment(shift=0.1)(images, draws(4_000))):
        assert set(moved.tolist()) == set(range(-3, 4))  # 3.3 pixels
        counts = (moved + 3).bincount()[1:-1] / 4_000
        assert (counts - 1 / 6.6).abs().max() < 0.03
    image = pictures(1)
    shifted = Augment(shift=0.2)(image, draws(1, epoch=3))
    shifts = [image.roll((down, right), (2, 3)) for down in range(-6, 7) for right in range(-6, 7)]
    inside = slice(6, -6)
    assert any(torch.equal(shifted[..., inside, inside], other[..., inside, inside]) for other in shifts)


def test_a_crop_is_any_window_of_the_padded_image() -> None:
    down, right = where_the_dots_went(Augment(crop=2)(dots(2_000), draws(2_000)))
    counts = ((down + 2) * 5 + right + 2).bincount(minlength=25) / 2_000
    assert counts.shape == (25,)
    assert (counts - 1 / 25).abs().max() < 0.02


def test_what_comes_in_from_beyond_the_edge_is_black() -> None:
    white = torch.full((50, 1, 16, 16), 255, dtype=torch.uint8)
    moved = Augment(crop=4)(white, draws(50))
    assert set(moved.unique().tolist()) == {0, 255}
    # A window moved by (down, right) keeps (16 - |down|) (16 - |right|) pixels of the image.
    kept = (moved == 255).sum(dim=(1, 2, 3))
    assert set(kept.tolist()) <= {(16 - down) * (16 - right) for down in range(5) for right in range(5)}


def test_a_rotation_turns_about_the_centre_within_its_range() -> None:
    images = torch.zeros(1_000, 1, 65, 65, dtype=torch.uint8)
    images[:, :, 32, 62] = 255  # a dot 30 pixels to the right of the centre
    images[:, :, 31:34, 61:64] = 255
    result = Augment(rotation=40.0)(images, draws(1_000)).float()[:, 0]
    weight = result.sum(dim=(1, 2))
    axis = torch.arange(65.0) - 32
    x, y = (result.sum(1) * axis).sum(1) / weight, (result.sum(2) * axis).sum(1) / weight
    angles = torch.atan2(y, x).rad2deg()
    assert ((x * x + y * y).sqrt() - 30).abs().max() < 0.3, "the distance from the centre stays"
    assert angles.abs().max() < 40.5
    assert abs(angles.mean()) < 4 * 40 / sqrt(3 * 1_000)
    assert abs(angles.std() - 40 / sqrt(3)) < 1


def test_one_transform_flips_shifts_and_rotates_as_its_parts_do() -> None:
    images = pictures(40)
    plain = Augment(flip=True, shift=0.2, crop=3)
    assert torch.equal(replace(plain, rotation=1e-6)(images, draws(40)), plain(images, draws(40)))


def test_erasing_covers_its_share_of_the_images_with_a_rectangle_of_the_stated_areas() -> None:
    images = torch.arange(2_000 * 3).view(2_000, 3, 1, 1).remainder(2).to(torch.uint8).expand(-1, -1, 40, 40)
    result = Augment(erasing=0.3)(images, draws(2_000))
    changed = (result != images).any(1)
    touched = changed.flatten(1).any(1)
    assert abs(touched.float().mean() - 0.3) < 4 * sqrt(0.21 / 2_000)
    sides = []
    for mask, picture in zip(changed[touched], result[touched], strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        box = picture[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (box == box[:, :1, :1]).all(), "one tone a channel, in all of a rectangle"
        sides.append((box.shape[1], box.shape[2]))
    high, wide = torch.tensor(sides, dtype=torch.float32).T
    share = high * wide / 1_600
    assert 0.01 < share.min() < 0.04
    assert 0.30 < share.max() < 0.36
    assert abs(share.mean() - 0.175) < 4 * 0.09 / sqrt(600)
    assert abs((high > wide).float().mean() - (high < wide).float().mean()) < 0.1
    assert 2.5 < (high / wide).max() < 4.0
    assert result[touched].float().mean() > 5, "the tones differ"


def test_brightness_multiplies_by_up_to_its_change() -> None:
    images = torch.full((2_000, 1, 4, 4), 100, dtype=torch.uint8)
    result = Augment(brightness=0.4)(images, draws(2_000)).float()
    assert (result == result[:, :, :1, :1]).all()
    assert 60 <= result.min() < 62
    assert 138 < result.max() <= 140
    assert abs(result.mean() - 100) < 4 * 40 / sqrt(3 * 2_000)


def test_contrast_stretches_about_the_mean_of_each_image() -> None:
    images = torch.tensor([80, 120], dtype=torch.uint8).repeat(2_000, 1, 1, 2)
    result = Augment(contrast=0.5)(images, draws(2_000)).float()
    assert (result.mean(dim=(1, 2, 3)) - 100).abs().max() <= 0.5
    width = result[:, 0, 0, 1] - result[:, 0, 0, 0]
    assert 20 <= width.min() < 21
    assert 59 < width.max() <= 60
    assert abs(width.mean() - 40) < 4 * 20 / sqrt(3 * 2_000)


def test_bright_pixels_stop_at_white() -> None:
    images = torch.full((100, 3, 4, 4), 250, dtype=torch.uint8)
    assert Augment(brightness=1.0)(images, draws(100)).max() == 255


def test_an_unknown_policy_is_one_line_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"--policy randaug: unknown; did you mean 'randaugment'\?"):
        Augment(policy="randaug")  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 4.0, 50.0])
def test_the_symmetric_beta_has_the_moments_and_the_law_of_beta(alpha: float) -> None:
    values = symmetric_beta(draws(40_000), "x", alpha).double()
    assert values.min() >= 0
    assert values.max() <= 1
    variance = 1 / (4 * (2 * alpha + 1))
    fourth = 3 / (16 * (2 * alpha + 1) * (2 * alpha + 3))  # central moment
    assert abs(values.mean() - 0.5) < 4 * sqrt(variance / 40_000)
    assert abs(values.var() - variance) < 4 * sqrt((fourth - variance**2) / 40_000)
    assert abs((values - 0.5).pow(4).mean() - fourth) < 0.03 * fourth


def test_mixup_blends_each_sample_and_its_label_with_the_one_before() -> None:
    images = torch.arange(64.0).view(64, 1, 1, 1).expand(-1, 2, 5, 5)
    labels = torch.eye(64)
    mixed, targets = mix(images, labels, draws(64), mixup=0.4)
    kept = targets.diagonal()
    assert torch.allclose(targets, kept[:, None] * labels + (1 - kept[:, None]) * labels.roll(1, 0))
    expected = kept[:, None, None, None] * images + (1 - kept[:, None, None, None]) * images.roll(1, 0)
    assert torch.allclose(mixed, expected, atol=1e-4)
    assert kept.unique().numel() == 64, "each sample draws its own share"


def test_cutmix_pastes_a_box_and_shares_the_label_by_its_area() -> None:
    images = torch.arange(500.0).view(500, 1, 1, 1).expand(-1, 3, 20, 30)
    labels = torch.eye(500)
    mixed, targets = mix(images, labels, draws(500), cutmix=1.0)
    pasted = mixed != images
    assert torch.equal(mixed, torch.where(pasted, images.roll(1, 0), images))
    area = pasted[:, 0].float().mean(dim=(1, 2))
    assert torch.allclose(1 - targets.diagonal(), area)
    for mask in pasted[:, 0]:
        if mask.any():
            rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
            assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "one whole rectangle"
    # The mean of a uniform share, less what sticks out: integrate (h - h**2 / 4)**2 over h = sqrt(share).
    assert abs(area.mean() - (1 / 2 - 2 / 5 * 1 / 2 + 1 / 16 * 1 / 3)) < 0.04


def test_with_both_on_half_of_the_samples_are_cut() -> None:
    images = torch.arange(1_000.0).view(1_000, 1, 1, 1).expand(-1, 1, 8, 8)
    mixed, targets = mix(images, torch.eye(1_000), draws(1_000), mixup=1.0, cutmix=1.0)
    blended = ((mixed != images) & (mixed != images.roll(1, 0))).flatten(1).any(1)
    assert abs(blended.float().mean() - 0.5) < 4 * sqrt(0.25 / 1_000)
    assert torch.allclose(targets.sum(1), torch.ones(1_000))


def test_mixing_is_the_same_for_the_same_draws_and_nothing_when_off() -> None:
    images, labels = pictures(20).float(), torch.eye(20)
    first, again = (mix(images, labels, draws(20), mixup=0.2, cutmix=1.0) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(mix(images, labels, draws(20, epoch=1), mixup=0.2)[0], first[0])
    untouched = mix(images, labels, draws(20))
    assert torch.equal(untouched[0], images)
    assert torch.equal(untouched[1], labels)
