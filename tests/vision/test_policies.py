"""The operations of the policies against torchvision's, and the laws by which images draw them."""

from collections import Counter
from collections.abc import Callable
from math import atan, degrees, sqrt

import pytest
import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.v2 import functional

from ptapp_core.data.draws import Draws
from ptapp_vision.augment import image_ops, policies
from ptapp_vision.data.built_in import draw_faces


def pictures(count: int, channels: int = 3) -> Tensor:
    return draw_faces(count * channels, seed=4, size=32)[0].view(count, channels, 32, 32)


Pair = tuple[float, float]


def affine(image: Tensor, angle: float = 0, move: Pair = (0, 0), shear: Pair = (0, 0)) -> Tensor:
    return functional.affine(image, angle, list(move), 1.0, list(shear), interpolation=InterpolationMode.BILINEAR)


Batched = Callable[[Tensor, Tensor], Tensor]
OneByOne = Callable[[Tensor, float], Tensor]
REFERENCES: list[tuple[Batched, OneByOne, list[float]]] = [
    (image_ops.brightness, lambda image, m: functional.adjust_brightness(image, 1 + m), [-0.9, -0.3, 0.0, 0.5]),
    (image_ops.contrast, lambda image, m: functional.adjust_contrast(image, 1 + m), [-0.9, -0.3, 0.0, 0.5]),
    (image_ops.color, lambda image, m: functional.adjust_saturation(image, 1 + m), [-0.9, -0.3, 0.0, 0.5]),
    (image_ops.sharpness, lambda image, m: functional.adjust_sharpness(image, 1 + m), [-0.9, -0.3, 0.0, 0.5]),
    (image_ops.posterize, lambda image, m: functional.posterize(image, round(m)), [1, 2, 4.4, 7, 8]),
    (image_ops.solarize, functional.solarize, [0, 100, 254, 255]),
    (image_ops.rotate, lambda image, m: affine(image, -m), [-135, -20, 0, 30]),
    (image_ops.shear_x, lambda image, m: affine(image, shear=(degrees(atan(m)), 0)), [-0.9, -0.2, 0.0, 0.3]),
    (image_ops.shear_y, lambda image, m: affine(image, shear=(0, degrees(atan(m)))), [-0.9, -0.2, 0.0, 0.3]),
    (image_ops.translate_x, lambda image, m: affine(image, move=(-32 * m, 0)), [-0.25, -0.125, 0.0, 0.5]),
    (image_ops.translate_y, lambda image, m: affine(image, move=(0, -32 * m)), [-0.25, -0.125, 0.0, 0.5]),
]


@pytest.mark.parametrize(("ours", "theirs", "magnitudes"), REFERENCES, ids=lambda case: getattr(case, "__name__", ""))
@pytest.mark.parametrize("channels", [1, 3])
def test_an_operation_gives_what_torchvision_gives_an_image_at_a_time(
    ours: Batched, theirs: OneByOne, magnitudes: list[float], channels: int
) -> None:
    images = pictures(len(magnitudes), channels)
    if channels == 1 and ours is image_ops.color:
        assert torch.equal(ours(images, torch.tensor(magnitudes)), images)
        return
    result = ours(images, torch.tensor(magnitudes, dtype=torch.float32)).int()
    expected = torch.stack([theirs(image, m) for image, m in zip(images, magnitudes, strict=True)]).int()
    difference = (result - expected).abs()
    assert difference.float().mean() < 0.6  # rounding: torchvision cuts off where we round
    assert (difference > 1).float().mean() < 0.002


def test_an_operation_at_magnitude_zero_leaves_the_image_as_it_is() -> None:
    images = pictures(5)
    for name, operation in policies._OPERATIONS.items():
        if operation.signed:
            assert torch.equal(operation.run(images, torch.zeros(5)), images), name


def test_the_smoothed_image_is_torchvisions_to_the_last_bit() -> None:
    images = pictures(5)
    assert torch.equal(image_ops.sharpness(images, torch.full((5,), -1.0)), functional.adjust_sharpness(images, 0.0))


def test_rotation_is_cosine_and_sine() -> None:
    angles = torch.linspace(-180, 180, 1_001)
    cosine, sine = image_ops.rotation(angles)
    assert torch.allclose(cosine, angles.deg2rad().cos(), atol=2e-6)
    assert torch.allclose(sine, angles.deg2rad().sin(), atol=2e-6)


Call = tuple[Tensor, Tensor]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What each image draws in each turn, its operation and its level, with the operations themselves left out."""
    made: list[Call] = []

    def record(images: Tensor, drawn: Tensor, level: Tensor, *_: object, **__: object) -> Tensor:
        made.append((drawn, level))
        return images

    monkeypatch.setattr(policies, "_apply", record)
    return made


def draw(policy: Callable[[Tensor, Draws], Tensor], count: int, size: int = 4) -> None:
    policy(torch.zeros(1, 1, size, size, dtype=torch.uint8).expand(count, -1, -1, -1), Draws(0, 0, torch.arange(count)))


def test_randaugment_draws_two_operations_alike_at_level_nine_of_thirty(calls: list[Call]) -> None:
    draw(policies.randaugment, 14_000)
    for drawn, level in calls:
        assert (drawn.bincount(minlength=14) - 1_000).abs().max() < 5 * sqrt(1_000)
        assert torch.allclose(level, torch.tensor(9 / 30))
    (first, _), (second, _) = calls
    assert abs((first == second).float().mean() - 1 / 14) < 0.01, "the second does not depend on the first"


def test_trivialaugment_draws_one_operation_at_one_of_31_levels(calls: list[Call]) -> None:
    draw(policies.trivialaugment, 14_000)
    ((drawn, level),) = calls
    assert (drawn.bincount(minlength=14) - 1_000).abs().max() < 5 * sqrt(1_000)
    counts = (level * 30).round().long().bincount(minlength=31)
    assert len(counts) == 31
    assert (counts - 14_000 / 31).abs().max() < 5 * sqrt(14_000 / 31)


@pytest.mark.parametrize(("size", "name"), [(32, "CIFAR10"), (96, "IMAGENET")])
def test_autoaugment_draws_the_published_pairs_with_their_chances(size: int, name: str, calls: list[Call]) -> None:
    draw(policies.autoaugment, 25_000, size)
    pairs = AutoAugment(AutoAugmentPolicy[name]).policies
    for turn, (drawn, level) in enumerate(calls):
        expected: Counter[tuple[str, int]] = Counter()
        for operation, chance, magnitude in (pair[turn] for pair in pairs):
            expected[operation, magnitude or 0] += chance / 25
        seen = Counter((policies._NAMES[k], round(9 * v)) for k, v in zip(drawn.tolist(), level.tolist(), strict=True))
        for key, share in expected.items():
            assert abs(seen[key] / 25_000 - share) < 0.01 or key[0] == "Identity", key
        surplus = {key for key in seen if key not in expected}
        assert {operation for operation, _ in surplus} <= {"Identity"}, "when its chance fails, nothing is done"


def test_signed_operations_go_both_ways_alike() -> None:
    operation = policies._OPERATIONS["Brightness"]
    level = torch.full((4,), 0.5)
    signs = torch.tensor([False, True, False, True])
    assert operation.magnitude(level, signs, wide=False).tolist() == pytest.approx([0.45, -0.45, 0.45, -0.45])
    assert operation.magnitude(level, signs, wide=True).tolist() == pytest.approx([0.495, -0.495, 0.495, -0.495])
    posterize = policies._OPERATIONS["Posterize"]
    assert posterize.magnitude(torch.tensor([0.0, 1.0]), torch.tensor([True, True]), wide=True).tolist() == [8, 2]


def test_levels_and_signs_reach_the_pixels() -> None:
    grey = torch.full((8_000, 1, 8, 8), 100, dtype=torch.uint8)
    result = policies.trivialaugment(grey, Draws(0, 0, torch.arange(8_000)))
    drawn = Draws(0, 0, torch.arange(8_000)).integers("trivialaugment", 14)
    bright = result[drawn == policies._NAMES.index("Brightness"), 0, 0, 0].float()
    assert bright.min() <= 2
    assert bright.max() >= 198
    assert abs(bright.mean() - 100) < 4 * 58 / sqrt(len(bright))
    assert abs((bright < 100).float().mean() - (bright > 100).float().mean()) < 0.15
