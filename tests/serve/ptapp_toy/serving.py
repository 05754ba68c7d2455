"""The front of the toy domain, which can take whatever its card says, and can be held back by a file."""

import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ptapp_core.errors import UserError
from ptapp_core.serve.front import Compute, Show, Tell

MAGIC = b"TOY"


class Front:
    def __init__(self, about: Mapping[str, Any], folder: Path) -> None:
        self.takes = about["takes"]
        self._classes = about["classes"]
        self._gate = Path(about["gate"]) if about.get("gate") else None
        self.streams = about.get("streams", False)
        self.plays = about.get("plays", False)
        self._targets = about.get("targets", ())

    def read(self, content: Any, name: str) -> Any:
        if self.takes in ("image", "audio"):
            if len(content) != 6 or not content.startswith(MAGIC):
                raise UserError(f"{name}: not a toy picture")
            return [float(number) for number in content[3:]]
        if self.takes in ("text", "pair"):
            content = (content if isinstance(content, str) else " ".join(content)).split()
        try:
            numbers = [float(number) for number in content]
        except (TypeError, ValueError) as error:
            raise UserError(f"{name}: not numbers") from error
        if len(numbers) != 3 or not np.isfinite(numbers).all():
            raise UserError(f"{name}: not three finite numbers")
        return numbers

    def answers(self, compute: Compute, samples: Sequence[Any], *, rounded: bool = False) -> list[dict[str, Any]]:
        while self._gate and not self._gate.exists():
            time.sleep(0.01)
        rows = compute({"x": np.array(samples, np.float32)}).tolist()
        return [self._answer([round(value) if rounded else value for value in row]) for row in rows]

    def streamed(self, compute: Compute, samples: Sequence[Any], tell: Tell, **options: Any) -> list[dict[str, Any]]:
        """Tells a piece before the front is let go, and one after; of zeros, and of sevens, only the first."""
        answers = []
        for place, numbers in enumerate(samples):
            tell(place, "to be, ")
            answers += self.answers(compute, [numbers], **options)
            if not any(numbers):
                raise UserError("nothing can be said of zeros")
            if set(numbers) == {7}:
                raise RuntimeError("a fault of the toy")
            tell(place, "or not")
        return answers

    def played(self, compute: Compute, show: Show, *, seed: int) -> dict[str, Any]:
        """An episode of three steps, of which the second is shown when the front is let go; that of seed 7 has none."""
        from PIL import Image  # which a server of the toy needs for this alone

        if seed == 7:
            raise UserError("the world of the toy is away")
        for step in range(3):
            file = BytesIO()
            Image.new("L", (8, 8), 100 * step).save(file, "JPEG")
            show(file.getvalue(), float(step), 50.0)
            self.answers(compute, [[1.0, 2.0, 9.0]])
        return {"return": 2.0, "steps": 2}

    def _answer(self, row: list[float]) -> dict[str, Any]:
        best = max(range(len(row)), key=row.__getitem__)
        probabilities = dict(zip(self._classes, row, strict=True))
        text = {"text": "to be, or not"} if self.streams else {}
        answer = text | {"class": self._classes[best], "confidence": row[best], "probabilities": probabilities}
        return {"targets": dict.fromkeys(self._targets, answer)} if self._targets else answer
