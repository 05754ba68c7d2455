"""The drawn faces: the same bits everywhere, and a task worth learning."""

import os
import subprocess
import sys
from hashlib import sha256

import pytest
import torch
from torch import Tensor, nn

from ptapp_vision.data.built_in import CLASSES, COUNTS, draw_faces, load_faces

pytestmark = pytest.mark.slow

DIGEST = "cb53d79fd32205edf51de40e303ee6ee167b1548783420126c65a38cf0af738b"


def digest(images: Tensor) -> str:
    return sha256(images.numpy().tobytes()).hexdigest()


def test_the_bits_are_the_same_on_every_machine() -> None:
    assert digest(draw_faces(70, seed=0)[0]) == DIGEST


def test_the_bits_are_the_same_on_a_processor_without_vector_instructions() -> None:
    script = (
        "from hashlib import sha256; from ptapp_vision.data.built_in import draw_faces;"
        "print(sha256(draw_faces(70, seed=0)[0].numpy().tobytes()).hexdigest())"
    )
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == DIGEST


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    digests = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        digests.add(digest(draw_faces(40, seed=3)[0]))
    assert len(digests) == 1


def test_a_face_depends_on_its_own_number_not_on_how_many_are_drawn() -> None:
    many, labels = draw_faces(40, seed=1)
    few, few_labels = draw_faces(23, seed=1)
    assert torch.equal(many[:23], few)
    assert torch.equal(labels[:23], few_labels)


@pytest.mark.parametrize("size", [16, 30, 48, 64])
def test_faces_are_uint8_of_the_size_asked_for_with_every_expression_alike(size: int) -> None:
    images, labels = draw_faces(14, seed=0, size=size)
    assert images.dtype == torch.uint8
    assert images.shape == (14, 1, size, size)
    assert labels.dtype == torch.int64
    assert labels.bincount().tolist() == [2] * len(CLASSES)


def test_pictures_use_the_grey_scale_without_losing_much_to_black_and_white() -> None:
    pixels = draw_faces(210, seed=5)[0].float()
    assert 100 < pixels.mean() < 155
    assert pixels.std() > 45
    assert ((pixels == 0) | (pixels == 255)).float().mean() < 0.05
    assert pixels.std(dim=(1, 2, 3)).min() > 12, "a picture without contrast"


def test_the_set_says_that_it_is_drawn_and_shares_no_face_between_its_splits() -> None:
    splits = load_faces()
    assert splits.drawn
    assert "drawn faces (not photographs)" in splits.about
    assert splits.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    seen: set[bytes] = set()
    for part, count in zip((splits.train, splits.val, splits.test), COUNTS.values(), strict=True):
        assert len(part.images) == len(part.labels) == len(part.names) == count
        assert isinstance(part.images, Tensor)
        pictures = {image.numpy().tobytes() for image in part.images}
        assert len(pictures) == count
        assert not pictures & seen
        seen |= pictures
    assert splits.test.names[7] == "drawn-test[7]"


def learned(network: nn.Module, steps: int) -> float:
    """Accuracy on held-out faces after training for a moment."""
    torch.manual_seed(0)
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    images, labels = draw_faces(2_100, seed=0)
    held_out, truth = draw_faces(420, seed=1)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, fused=True)
    for step in range(steps):
        rows = torch.arange(64 * step, 64 * (step + 1)) % len(images)
        loss = nn.functional.cross_entropy(network(images[rows].float() / 64 - 2), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        return float((network(held_out.float() / 64 - 2).argmax(1) == truth).float().mean())


def convolution(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def test_shapes_must_be_seen_a_small_convolutional_network_beats_a_linear_model() -> None:
    stages = [convolution(1, 16), convolution(16, 32), convolution(32, 64), convolution(64, 64)]
    small = nn.Sequential(*stages, nn.Flatten(), nn.Linear(64 * 9, len(CLASSES)))
    assert learned(small, steps=200) > 0.75
    assert 0.3 < learned(nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, len(CLASSES))), steps=200) < 0.6
