"""A model of images by onnxruntime alone, from bytes to bytes: what serve_speed.py measures servers against."""

from pathlib import Path

import numpy as np
import onnxruntime


class Model:
    """`model.onnx` of an export folder, with one thread for an answer as `ptapp serve` has it."""

    def __init__(self, export: str | Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        file = str(Path(export) / "model.onnx")
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        (port,) = self._session.get_inputs()
        self.name, self.shape = port.name, tuple(port.shape[1:])
        """The input, of uint8, and its shape without the batch."""

    def run(self, content: bytes) -> bytes:
        """The output for the pixels of an image."""
        image = np.frombuffer(content, np.uint8).reshape(1, *self.shape)
        return self._session.run(None, {self.name: image})[0].tobytes()
