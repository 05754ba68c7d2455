"""Photographs with faces, and a detector, for the tests of `ptapp_vision.faces`.

Both portraits are in the public domain: Eileen Collins in scikit-image, Grace Hopper in Matplotlib.
"""

from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from matplotlib import cbook
from onnx import TensorProto, helper
from PIL import Image
from skimage import data

BACKGROUND = (200, 205, 210)


class Portrait(NamedTuple):
    """A photograph of one face, with where a cascade finds it."""

    image: Image.Image
    x: float
    y: float
    side: float
    angle: float
    """Degrees by which the head is turned clockwise."""


def collins() -> Portrait:
    return Portrait(Image.fromarray(data.astronaut()).crop((120, 10, 330, 240)), 105, 104, 98, 3)


def hopper() -> Portrait:
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return Portrait(Image.open(file).convert("RGB").crop((90, 20, 440, 440)), 174, 197, 232, -3)


class Placed(NamedTuple):
    """Where a portrait is laid into a picture: the middle of its face, its side in pixels, and its turn clockwise."""

    portrait: Portrait
    x: float
    y: float
    side: float
    turn: float = 0.0


def lay(placed: Sequence[Placed], size: tuple[int, int] = (640, 360)) -> np.ndarray:
    """A picture with these faces, RGB uint8 (height, width, 3)."""
    picture = Image.new("RGB", size, BACKGROUND)
    for portrait, x, y, side, turn in placed:
        scale = side / portrait.side
        image = portrait.image.resize((round(portrait.image.width * scale), round(portrait.image.height * scale)))
        left, top = x - portrait.x * scale, y - portrait.y * scale
        layer, mask = Image.new("RGB", size), Image.new("L", size)
        layer.paste(image, (round(left), round(top)))
        mask.paste(255, (round(left), round(top), round(left) + image.width, round(top) + image.height))
        layer, mask = (each.rotate(-turn, Image.Resampling.BICUBIC, center=(x, y)) for each in (layer, mask))
        picture.paste(layer, mask=mask)
    return np.array(picture)


def write_yunet(file: Path, *, width: float, eyes: float) -> Path:
    """An ONNX file in the form of YuNet that takes red spots of 8x8 pixels for faces.

    Each is `width` pixels wide, with the eyes `eyes` pixels to the left and right of the spot.
    """
    nodes, outputs, constants = [], [], []

    def head(name: str, stride: int, weight: np.ndarray, bias: Sequence[float], *, share: bool = False) -> None:
        count = len(bias)
        parts = {"w": weight.reshape(count, 3, 1, 1), "b": np.array(bias)}
        constants.extend(
            helper.make_tensor(f"{name}_{key}", TensorProto.FLOAT, value.shape, value.astype(np.float32).ravel())
            for key, value in parts.items()
        )
        constants.append(helper.make_tensor(f"{name}_shape", TensorProto.INT64, [3], [1, -1, count]))
        nodes.append(helper.make_node("Conv", [f"pool_{stride}", f"{name}_w", f"{name}_b"], [f"{name}_conv"]))
        nodes.append(helper.make_node("Transpose", [f"{name}_conv"], [f"{name}_t"], perm=[0, 2, 3, 1]))
        flat = f"{name}_flat" if share else name
        nodes.append(helper.make_node("Reshape", [f"{name}_t", f"{name}_shape"], [flat]))
        if share:
            nodes.append(helper.make_node("Sigmoid", [flat], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, count]))

    strides = (8, 16, 32)
    for stride in strides:
        size = [stride, stride]
        nodes.append(helper.make_node("AveragePool", ["input"], [f"pool_{stride}"], kernel_shape=size, strides=size))
    red = np.array([-0.2, -0.2, 0.2])  # of blue, green, red
    for kind in ("cls", "obj"):
        for stride in strides:
            head(f"{kind}_{stride}", stride, red if stride == 8 else 0 * red, [-30.0], share=True)
    half = 0.5  # cells: the middle of a spot
    for stride in strides:
        head(f"bbox_{stride}", stride, np.zeros((4, 3)), [half, half, log(width / 8), log(1.3 * width / 8)])
    for stride in strides:
        points = [half - eyes / 8, half, half + eyes / 8, half, half, 1, 0, 2, 1, 2]
        head(f"kps_{stride}", stride, np.zeros((10, 3)), points)
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "height", "width"])
    graph = helper.make_graph(nodes, "yunet", [picture], outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
    return file
