"""Draws the squares of faces with what a model says of them."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from ptapp_core.kinds.kind import Kind
from ptapp_core.measure.report import clip
from ptapp_vision.faces.face import Pixels
from ptapp_vision.faces.look import Seen

_INK, _PAPER = "#111111", "#ffd400"
_LONGEST = 40  # characters of a label
_PAD = 3  # pixels around it


def annotated(picture: Pixels, seen: Sequence[Seen], kind: Kind) -> Image.Image:
    """The picture, RGB uint8 (H, W, 3), with a square about each face and a label above it or, at the edge, in it."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for face, row in seen:
        half, line = face.side / 2, max(2, round(face.side / 50))
        corners = [face.at(right, down) for right, down in ((-half, -half), (half, -half), (half, half), (-half, half))]
        for colour, thick in ((_INK, 2 * line), (_PAPER, line)):
            draw.line([*corners, corners[0], corners[1]], fill=colour, width=thick, joint="curve")
        font = _font(max(12, min(40, round(face.side / 6))))
        text = clip(" ".join(kind.line(row).split()), _LONGEST)
        _, _, width, height = draw.textbbox((0, 0), text, font=font)
        left = max(0.0, min(min(x for x, _ in corners), image.width - width - 2 * _PAD))
        top = max(0.0, min(y for _, y in corners) - height - 2 * _PAD)
        draw.rectangle((left, top, left + width + 2 * _PAD, top + height + 2 * _PAD), fill=_PAPER)
        draw.text((left + _PAD, top + _PAD), text, fill=_INK, font=font)
    return image


def save(image: Image.Image, out: Path) -> None:
    """Writes a JPEG, whole or not at all."""
    part = out.with_name(f".{out.name}.part")
    try:
        image.save(part, "JPEG", quality=92)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that Matplotlib brings, so that labels look the same on every machine."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
