"""What a domain brings to a server: from what people have to arrays, and from an output to an answer. No torch."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy.typing as npt

SUFFIX = ".onnx"
FILE = f"model{SUFFIX}"
"""The model in an export folder that equals the run's; other forms lie beside it."""
CARD = f"{FILE}.json"
"""What the model takes and gives, beside it; so for each form."""
Arrays = Mapping[str, npt.NDArray[Any]]
Compute = Callable[[Arrays], npt.NDArray[Any]]
"""The model: its inputs by name, each (N, ...), to its output (N, ...)."""

Tell = Callable[[int, str], None]
"""Takes the number of a sample, from 0, and what comes next of the text that answers it."""


class Front(Protocol):
    """Made from what `model.onnx.json` says and the folder that it lies in; raises UserError where that does not do."""

    @property
    def takes(self) -> Literal["image", "audio", "text", "pair", "observation"]:
        """What a sample is."""

    def __init__(self, about: Mapping[str, Any], folder: Path) -> None: ...

    def read(self, content: bytes | str | Any, name: str) -> Any:
        """One sample from the bytes of a file, a text, a pair of texts, or JSON (an observation).

        A pair is a list of two texts, or one text in which a tab stands between them.

        Raises UserError in one line that begins with `name` where it cannot be read.
        """

    def answers(self, compute: Compute, samples: Sequence[Any], **options: Any) -> list[dict[str, Any]]:
        """An answer for each sample, the same as `predict --json` gives (JSON values only)."""


Show = Callable[[bytes, float, float], None]
"""Takes a picture of a world (a JPEG file), the return so far, and how many such pictures a second are."""


@runtime_checkable
class Streaming(Protocol):
    """A `Front` whose answers can be told while they are computed."""

    @property
    def streams(self) -> bool:
        """Whether this model answers piece by piece; if not, `streamed` is not to be called."""

    def streamed(self, compute: Compute, samples: Sequence[Any], tell: Tell, **options: Any) -> list[dict[str, Any]]:
        """As `answers`, after `tell` was given the pieces of each sample's text, which together are the text."""


@runtime_checkable
class Playing(Protocol):
    """A `Front` of policies, whose episodes can be shown."""

    @property
    def plays(self) -> bool:
        """Whether the world of this policy can be shown here; if not, `played` is not to be called."""

    def played(self, compute: Compute, show: Show, *, seed: int) -> dict[str, Any]:
        """Plays an episode, of which `show` is given each picture: its `return` and its `steps`.

        Raises UserError before the first picture where the environment is not installed, or cannot be drawn.
        """
