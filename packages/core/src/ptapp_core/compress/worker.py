"""A process of its own that times one form of a model: it imports only what that form needs.

`python worker.py JOB.json` prints a line of JSON. The job: `form`, `file`, `inputs` (an .npz file with the arguments
by their number, (32, ...) each), `threads`, `batches` and `seconds`.
"""

import json
import re
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_LEAST = 5  # runs of each batch size, however slow they are


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Quantiles of the wall time of a run in ms, by the size of the batch, and the greatest memory in bytes."""
    inputs = np.load(job["inputs"])
    arguments = [inputs[name] for name in inputs.files]
    run = _READERS[job["form"]](Path(job["file"]), job["threads"])
    times = {size: _timed(run, [part[:size] for part in arguments], job["seconds"]) for size in job["batches"]}
    return {"times": times, "peak": peak()}


def peak() -> int:
    """The greatest memory of this process in bytes; what `getrusage` says on Linux may be its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1])  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _timed(run: Callable[[Sequence[Any]], Any], batch: Sequence[Any], seconds: float) -> dict[str, float]:
    for _ in range(2):
        run(batch)
    taken: list[float] = []
    while len(taken) < _LEAST or sum(taken) < seconds:
        begin = time.perf_counter()
        run(batch)
        taken.append(time.perf_counter() - begin)
    p50, p95 = np.quantile(np.array(taken) * 1000, (0.5, 0.95)).tolist()
    return {"p50": p50, "p95": p95}


def _torch(read: Callable[[Path], Any]) -> Callable[[Path, int], Callable[[Sequence[Any]], Any]]:
    def reader(file: Path, threads: int) -> Callable[[Sequence[Any]], Any]:
        import torch

        torch.set_num_threads(threads)
        model, context = read(file), torch.no_grad()

        def run(batch: Sequence[Any]) -> Any:
            with context:
                return model(*map(torch.from_numpy, batch))

        return run

    return reader


def _eager(file: Path) -> Any:
    import torch

    return torch.load(file, weights_only=False)  # the program that started this one has just written it


def _compiled(file: Path) -> Any:
    import torch

    return torch.compile(_eager(file))


def _torchscript(file: Path) -> Any:
    import torch

    return torch.jit.load(str(file))


def _pt2(file: Path) -> Any:
    import torch

    return torch.export.load(file).module()


def _onnx(file: Path, threads: int) -> Callable[[Sequence[Any]], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    card = json.loads(file.with_name(f"{file.name}.json").read_text(encoding="utf-8"))
    provider = card.get("provider", "CPUExecutionProvider")
    session = onnxruntime.InferenceSession(str(file), options, providers=[provider])
    names = [each.name for each in session.get_inputs()]
    return lambda batch: session.run(None, dict(zip(names, batch, strict=True)))


_READERS = {
    "eager": _torch(_eager),
    "compiled": _torch(_compiled),
    "torchscript": _torch(_torchscript),
    "pt2": _torch(_pt2),
    "onnx": _onnx,
    "onnx int8": _onnx,
    "onnx fp16": _onnx,
    "onnx bf16": _onnx,
}

if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
