"""The random numbers of a process, as state that a checkpoint can hold."""

import random
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import torch


class RandomState:
    """The state of this process's global generators (torch, CUDA, NumPy, Python), as plain data."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and tuples only, so that it loads without running code."""
        kind, keys, position, has_gauss, cached = np.random.get_state()  # the legacy state is a tuple of five
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self._cuda) if self._cuda else None,
            "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
            "numpy": (str(kind), torch.from_numpy(np.asarray(keys).copy()), position, has_gauss, cached),
            "python": random.getstate(),
        }

    def of_ranks(self, states: Sequence[dict[str, Any]], rank: int) -> dict[str, Any]:
        """A rank that was there goes on with its own numbers, and a new one with those that it was seeded for."""
        return states[rank] if rank < len(states) else self.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Sets all generators to a stored state."""
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None and self._cuda:
            torch.cuda.set_rng_state(state["cuda"], self._cuda)
        if state["mps"] is not None and torch.backends.mps.is_available():
            torch.mps.set_rng_state(state["mps"])
        kind, keys, position, *rest = state["numpy"]
        if not 0 <= position <= len(keys):  # NumPy would read there
            raise ValueError(f"numpy: position {position} is beyond its {len(keys)} numbers")
        np.random.set_state((kind, keys.numpy(), position, *rest))
        random.setstate(state["python"])

    def as_bytes(self) -> bytes:
        """The state as another rank can read it."""
        file = BytesIO()
        torch.save(self.state_dict(), file)  # pickle alone knows no tensor of uint32
        return file.getvalue()

    def load_bytes(self, state: bytes) -> None:
        """Sets all generators to the state of another rank."""
        self.load_state_dict(torch.load(BytesIO(state), weights_only=True))
