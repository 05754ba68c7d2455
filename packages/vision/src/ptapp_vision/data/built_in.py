"""The built-in data: faces drawn by the program, seven expressions, so that every command runs with nothing given.

The same bits on every machine: chance comes from integer hashing, and the pixels from operations that IEEE 754 rounds
exactly (+ - * / sqrt min max), each written out, so that no library's own sine or order of summation plays a part.

Lengths are in units of half the height of a head, whose centre is the origin; u points right and v down.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ptapp_core.data.draws import Draws
from ptapp_core.data.split import Samples
from ptapp_core.data.targets import CLASSIFY, MULTILABEL, REGRESS, said_of
from ptapp_vision.data.splits import SEGMENT, Images, Splits

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
LABELS = {
    "smiling": ("mouth curve", 0.05),
    "open mouth": ("mouth height", 0.06),
    "wide eyes": ("eye height", 0.14),
    "raised brows": ("brow height", 0.05),
}
"""The trait that is seen, and from which value on."""
REGIONS = ("background", "clothes", "skin", "hair", "eyes", "mouth")
"""What the pixels of the masks of faces are of."""
NUMBERS = {"smile": "mouth curve", "eyes": "eye height"}
COUNTS = {"train": 5_600, "val": 700, "test": 1_400}
_CHUNK = 16  # faces drawn at once: few enough for their pixels to stay in the processor's cache

# What an expression does to a face: its value for each of CLASSES.
_EXPRESSIONS = {
    "brow height":  (-0.09, -0.04,  0.08,  0.02,  0.03,  0.16,  0.00),
    "brow slope":   ( 0.50,  0.22, -0.28, -0.02, -0.48,  0.00,  0.02),  # positive: the inner ends are low
    "brow arch":    ( 0.02,  0.03,  0.02,  0.09,  0.00,  0.15,  0.06),
    "eye height":   ( 0.12,  0.07,  0.18,  0.11,  0.09,  0.20,  0.13),
    "lid slope":    ( 0.35,  0.08, -0.08,  0.00, -0.32,  0.00,  0.00),  # positive: the inner ends are low
    "mouth width":  ( 0.26,  0.30,  0.36,  0.42,  0.27,  0.19,  0.30),
    "mouth curve":  (-0.07, -0.12, -0.03,  0.22, -0.18,  0.00,  0.01),  # positive: the corners are high
    "mouth height": ( 0.05,  0.07,  0.12,  0.15,  0.01,  0.25,  0.01),
    "teeth":        ( 1.00,  1.00,  0.50,  1.00,  0.00,  0.00,  0.00),
    "wrinkle":      ( 0.30,  1.00,  0.00,  0.10,  0.00,  0.00,  0.00),
}  # fmt: skip

# What says nothing about the expression: each face draws it between these bounds. Tones are 0 for black, 1 for white.
_TRAITS = {
    "strength": (0.4, 1.1),  # of the expression, from neutral at 0 to the table's at 1
    "right": (-0.12, 0.12), "down": (-0.06, 0.14),  # of the picture's centre, in half sides
    "scale": (0.68, 0.84),
    "tilt": (-0.16, 0.16),  # tangent of half the angle
    "turn": (-0.16, 0.16),
    "background": (0.15, 0.95), "slope x": (-0.2, 0.2), "slope y": (-0.2, 0.2),
    "skin": (0.42, 0.85), "ink": (0.10, 0.35), "iris": (0.05, 0.30), "clothes": (0.05, 0.95), "hair": (0.03, 0.60),
    "light x": (-0.22, 0.22), "light y": (-0.18, 0.08),
    "line": (0.022, 0.045), "brow thickness": (1.1, 2.0),
    "face width": (0.72, 0.84), "eyes apart": (0.33, 0.39), "gaze": (-0.06, 0.06),
    "nose": (0.16, 0.24), "mouth": (0.50, 0.58),
    "hair length": (-0.5, 1.1), "hairline": (-0.86, -0.60), "fringe": (-0.15, 0.45), "parting": (-0.22, 0.22),
    "contrast": (0.65, 1.05), "exposure": (-0.1, 0.1), "noise": (0.01, 0.14),
}  # fmt: skip


def load_faces(kind: str = CLASSIFY, size: int = 48) -> Splits:
    """The drawn faces, `size` pixels square and grey; always the same ones, whatever the seed of a job.

    The kind of the targets says what is to be learned of them: the expression, what is seen of it (`LABELS`), how far
    the corners of the mouth are up and the eyes open (`NUMBERS`), or which part of the face a pixel is of (`REGIONS`).
    """
    parts = {}
    names = {CLASSIFY: CLASSES, MULTILABEL: tuple(LABELS), REGRESS: tuple(NUMBERS), SEGMENT: REGIONS}[kind]
    for seed, (split, count) in enumerate(COUNTS.items()):
        masks = torch.zeros(count, size, size, dtype=torch.uint8) if kind == SEGMENT else None
        images, labels = draw_faces(count, seed, size, masks=masks)
        targets = labels if kind == CLASSIFY else _seen(count, seed, kind) if masks is None else masks
        called = [f"drawn-{split}[{row}]" for row in range(count)]
        parts[split] = Images(images, targets, Samples(called, called))
    numbers = " / ".join(f"{count:,}" for count in COUNTS.values())
    what = f"{len(CLASSES)} expressions" if kind == CLASSIFY else said_of(kind, names)
    what += " of pixels" if kind == SEGMENT else ""
    about = f"drawn faces (not photographs): {what}, {numbers} train/val/test, {size}x{size} grey"
    return Splits(parts["train"], parts["val"], parts["test"], classes=names, about=about, drawn=True, kind=kind)


def _seen(count: int, seed: int, kind: str) -> Tensor:
    """Labels or numbers of the faces of `draw_faces`, float64 (count, K)."""
    index = torch.arange(count)
    faces = _chance(Draws(seed, 0, index), index % len(CLASSES))
    if kind == REGRESS:
        return torch.stack([faces[trait].flatten() for trait in NUMBERS.values()], 1).double()
    return torch.stack([faces[trait].flatten() > least for trait, least in LABELS.values()], 1).double()


def draw_faces(count: int, seed: int, size: int = 48, *, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Images, uint8 (count, 1, size, size), and labels, int64 (count,), which are indices into `CLASSES`.

    `masks`, uint8 (count, size, size) of zeros, get the number of each pixel's part of the face in `REGIONS`.
    """
    index = torch.arange(count)
    labels = index % len(CLASSES)
    draws = Draws(seed, 0, index)
    faces = _chance(draws, labels)
    grain = draws.bits("grain", size, -(-size // 4))  # the noise of four pixels in each number
    images = torch.empty(count, 1, size, size, dtype=torch.uint8)
    for start in range(0, count, _CHUNK):
        rows = slice(start, start + _CHUNK)
        regions = None if masks is None else masks[rows]
        images[rows, 0] = _draw({name: value[rows] for name, value in faces.items()}, grain[rows], size, regions)
    return images, labels


def _chance(draws: Draws, labels: Tensor) -> dict[str, Tensor]:
    """What faces with these expressions look like: a number a face, shape (n, 1, 1), for each name in both tables."""
    faces = {name: draws.uniform(name, 1, 1, low=low, high=high) for name, (low, high) in _TRAITS.items()}
    for name, values in _EXPRESSIONS.items():
        neutral, full = values[-1], torch.tensor(values)[labels][:, None, None]
        spread = 0.1 * (max(values) - min(values))
        faces[name] = (
            neutral + (full - neutral) * faces["strength"] + draws.uniform(name, 1, 1, low=-spread, high=spread)
        )
    return faces


@dataclass
class _Canvas:
    """Grey values of n pictures, and for each of their pixels where on the face it lies; all shape (n, size, size)."""

    grey: Tensor
    u: Tensor
    v: Tensor
    pixels: Tensor  # in a unit of length, shape (n, 1, 1)
    regions: Tensor | None = None  # which part of the face each pixel is of, uint8

    def paint(
        self, distance: Tensor, tone: Tensor | float, opacity: Tensor | float = 1.0, region: str | None = None
    ) -> None:
        """Covers where the distance to the edge of a shape is negative; edges are one pixel soft.

        What is covered is of the `region` from now on, or stays what it was.
        """
        if region is not None and self.regions is not None:
            self.regions[distance < 0] = REGIONS.index(region)
        cover = (0.5 - distance * self.pixels).clamp_(0.0, 1.0).mul_(opacity)
        self.grey += (tone - self.grey).mul_(cover)


def _ellipse(u: Tensor, v: Tensor, width: Tensor | float, height: Tensor | float) -> Tensor:
    """The distance to the edge of an ellipse around (0, 0), as measured on its vertical axis."""
    a, b = u / width, v / height
    return (a * a).add_(b * b).sqrt_().sub_(1.0).mul_(height)


def _stroke(u: Tensor, v: Tensor, half_width: float, bend: Tensor | float, half_line: Tensor) -> Tensor:
    """The distance to the edge of a round-ended line v = bend * (u / half_width)**2."""
    inside = u.clamp(-half_width, half_width)
    beyond, along = u - inside, inside / half_width
    off = v - bend * (along * along)
    return (beyond * beyond).add_(off * off).sqrt_().sub_(half_line)


def _draw(face: dict[str, Tensor], grain: Tensor, size: int, regions: Tensor | None) -> Tensor:
    """Pictures, uint8 (n, size, size), painted from back to front."""
    canvas = _pose(face, size)
    canvas.regions = regions
    face["ink"] = face["ink"] * face["skin"]
    _head(canvas, face)
    # On a head turned aside the features move with its front, less so near the edge.
    canvas.u = canvas.u - face["turn"] * (1.0 - canvas.u * canvas.u).clamp_(min=0.0)
    _nose(canvas, face)
    _eyes(canvas, face)
    _mouth(canvas, face)
    return _develop(canvas.grey, face, grain)


def _pose(face: dict[str, Tensor], size: int) -> _Canvas:
    axis = (2.0 * torch.arange(size) + 1.0) / size - 1.0
    x, y = axis[None, None, :] - face["right"], axis[None, :, None] - face["down"]
    tangent = face["tilt"]
    square = tangent * tangent
    cosine, sine = (1.0 - square) / (1.0 + square), 2.0 * tangent / (1.0 + square)
    u, v = (cosine * x + sine * y) / face["scale"], (cosine * y - sine * x) / face["scale"]
    background = face["background"] + face["slope x"] * x + face["slope y"] * y
    return _Canvas(background, u, v, pixels=face["scale"] * (0.5 * size))


def _head(canvas: _Canvas, face: dict[str, Tensor]) -> None:
    u, v = canvas.u, canvas.v
    side, width, skin = u.abs(), face["face width"], face["skin"]
    hair = face["hair"] * (1.4 - skin)
    canvas.paint(_ellipse(u, v - 1.75, 1.05, 0.72), face["clothes"], region="clothes")
    canvas.paint(torch.maximum(side - 0.30, (v - 0.9).abs_() - 0.35), 0.8 * skin, region="skin")  # neck
    canvas.paint(torch.maximum(_ellipse(u, v + 0.1, width + 0.15, 1.08), v - face["hair length"]), hair, region="hair")
    canvas.paint(_ellipse(side - width, v, 0.10, 0.18), 0.88 * skin, region="skin")  # ears
    head = _ellipse(u, v, width, 1.0)
    shade = 1.0 - 0.16 * (u * u + v * v) + face["light x"] * u + face["light y"] * v
    canvas.paint(head - 0.015, face["ink"])
    canvas.paint(head, skin * shade, region="skin")
    hairline = face["hairline"] + face["parting"] * u + face["fringe"] * (u * u)
    canvas.paint(torch.maximum(head - 0.03, v - hairline), hair, region="hair")


def _nose(canvas: _Canvas, face: dict[str, Tensor]) -> None:
    tip = canvas.v - face["nose"]
    canvas.paint(_stroke(canvas.u, tip, 0.09, -0.06, 0.7 * face["line"]), face["ink"], 0.6)
    down = canvas.v - 0.30  # wrinkles run from the nose to the corners of the mouth
    wrinkle = _stroke(down, canvas.u.abs() - 0.24 - 0.35 * down, 0.13, 0.0, 0.6 * face["line"])
    canvas.paint(wrinkle, face["ink"], 0.8 * face["wrinkle"].clamp(0.0, 1.0))


def _eyes(canvas: _Canvas, face: dict[str, Tensor]) -> None:
    out = canvas.u.abs() - face["eyes apart"]  # both sides at once; positive towards the ear
    v, slope, line = canvas.v + 0.10, face["lid slope"], face["line"]
    lid = 0.18 * slope.abs() - slope * out - face["eye height"]  # cuts one end of the eye, and leaves the other
    white = torch.maximum(_ellipse(out, v, 0.21, face["eye height"]), lid - v)
    canvas.paint(torch.maximum(white, out.abs() - 0.21) - line, face["ink"], region="eyes")
    canvas.paint(white, 0.95)
    iris = _ellipse(out - face["gaze"] * canvas.u.sign(), v, 0.10, 0.10)
    canvas.paint(torch.maximum(iris, white), face["iris"])
    brow = canvas.v + 0.40 + face["brow height"] + face["brow slope"] * out + 0.5 * face["brow arch"]
    canvas.paint(_stroke(out, brow, 0.21, face["brow arch"], line * face["brow thickness"]), 0.8 * face["ink"])


def _mouth(canvas: _Canvas, face: dict[str, Tensor]) -> None:
    width, height = face["mouth width"], face["mouth height"].clamp(min=0.0)
    along = canvas.u / width
    inside = (1.0 - along * along).clamp_(min=0.0)
    v = canvas.v - face["mouth"] - face["mouth curve"] * (inside - 0.5)
    hole = torch.maximum(v.abs() - height * inside.sqrt_(), canvas.u.abs() - width)
    canvas.paint(hole - face["line"], face["ink"], region="mouth")
    canvas.paint(hole, 0.5 * face["ink"])
    canvas.paint(torch.maximum(hole, v + height * (1.0 - 0.8 * face["teeth"])), 0.92)


def _develop(grey: Tensor, face: dict[str, Tensor], grain: Tensor) -> Tensor:
    """Contrast, exposure and noise, then eight bits."""
    grey = (grey.clamp_(0.0, 1.0) - 0.5) * face["contrast"] + face["exposure"] + 0.5
    draws = grain.view(torch.uint8).float()[..., : 2 * grey.shape[-1]]
    noise = draws[..., ::2] + draws[..., 1::2] - 255.0  # the sum of two: triangular, near to a Gaussian
    return (grey * 255.0 + noise * face["noise"] + 0.5).clamp_(0.0, 255.0).to(torch.uint8)
