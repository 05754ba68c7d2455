"""The forms of observations and actions: what an environment shows and takes, as a run's `meta.json` holds it."""

from typing import Annotated, Literal

from pydantic import Field

from ptapp_core.runs.typed import Listed, Size, Typed

Shape = Listed[Size]


class Vector(Typed):
    """Numbers of any type."""

    kind: Literal["vector"]
    shape: Shape


class Image(Typed):
    """Bytes that are an image, or a stack of images."""

    kind: Literal["image"]
    shape: Shape


class Numbers(Typed):
    """Whole numbers: how many values each has, and the least of them."""

    kind: Literal["numbers"]
    nvec: Listed[Size]
    start: Listed[int]


Part = Vector | Image | Numbers


class Parts(Typed):
    """A dictionary of observations."""

    kind: Literal["dict"]
    parts: dict[str, Annotated[Part, Field(discriminator="kind")]]


Observation = Part | Parts


class Discrete(Typed):
    """One of `n` whole numbers, the least of which is `start`."""

    kind: Literal["discrete"]
    n: Size
    start: int
    shape: Shape
    dtype: str


class Choices(Typed):
    """Several whole numbers: how many values each has, and the least of them."""

    kind: Literal["multidiscrete"]
    nvec: Listed[Size]
    start: Listed[int]
    shape: Shape
    dtype: str


class Box(Typed):
    """Real numbers with their bounds; the greatest number of a type stands for infinity."""

    kind: Literal["box"]
    low: Listed[float]
    high: Listed[float]
    shape: Shape
    dtype: str


Action = Discrete | Choices | Box
