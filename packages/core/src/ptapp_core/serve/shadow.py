"""A second version answers too, unseen: its answers are compared with those that were given."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ptapp_core.errors import UserError
from ptapp_core.serve.metrics import Metrics
from ptapp_core.serve.pool import Pool
from ptapp_core.serve.session import Model
from ptapp_core.serve.store import Served

log = logging.getLogger("ptapp.serve")


class Shadows:
    """Computes what a shadow would have answered, while a thread is free; a request never waits for it."""

    def __init__(self, pool: Pool, metrics: Metrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    def compare(self, served: Served, version: str, *, given: Callable[[], Any], other: Callable[[Model], Any]) -> None:
        """Compares, later, the answers that a version gave with those that `other` computes by the shadow."""
        if served.shadow is None or served.shadow == version:
            return
        if not self._pool.idle:
            self._metrics.shadow(served.name, version, served.shadow, result="skipped")
            return
        task = asyncio.create_task(self._compare(served, version, given, other))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(
        self, served: Served, version: str, given: Callable[[], Any], other: Callable[[Model], Any]
    ) -> None:
        assert served.shadow is not None
        model = served.versions[served.shadow]
        try:
            same, difference = (await self._pool.run(lambda: compared(given(), other(model)))).value
        except UserError:
            self._metrics.shadow(served.name, version, served.shadow, result="failed")
        except Exception:
            self._metrics.shadow(served.name, version, served.shadow, result="failed")
            log.exception("version %s of %s failed as a shadow", served.shadow, served.name)
        else:
            result = "same" if same else "other"
            self._metrics.shadow(served.name, version, served.shadow, result=result, difference=difference)


def compared(one: Any, other: Any) -> tuple[bool, float]:
    """Whether two answers are the same in all but decimals, and the greatest absolute difference of those."""
    if isinstance(one, float) and isinstance(other, float):
        return True, abs(one - other)
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return False, 0.0
        parts = [compared(value, other[key]) for key, value in one.items()]
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return False, 0.0
        parts = [compared(*pair) for pair in zip(one, other, strict=True)]
    else:
        return one == other, 0.0
    return all(same for same, _ in parts), max((difference for _, difference in parts), default=0.0)


def numbers_of(outputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Outputs by name, (N, ...) of any dtype, as `compared` takes them: with the places of the greatest decimals."""
    return {
        name: [array.tolist(), array.argmax(-1).tolist() if np.issubdtype(array.dtype, np.floating) else None]
        for name, array in outputs.items()
    }
