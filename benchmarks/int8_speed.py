"""int8 exports beside the fp32 ones that they were made of, by onnxruntime on one thread.

    ptapp DOMAIN export RUN --quantize auto
    python benchmarks/int8_speed.py RUN...

What is timed is the process's own processor time, which a busy machine distorts less than the clock on the wall; the
two files take turns, and a ratio is the median over the rounds. Inputs are random, of 40 tokens or one second.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

ROUNDS, SECONDS, TOKENS = 9, 0.3, 40


def session(file: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def inputs(found: Any, batch: int, card: dict[str, Any]) -> dict[str, Any]:
    random, made = np.random.default_rng(0), {}
    for each in found.get_inputs():
        free = {"batch": batch, "length": card.get("rate", TOKENS)}
        shape = [size if isinstance(size, int) else free.get(size, TOKENS) for size in each.shape]
        match each.type:
            case "tensor(uint8)":
                made[each.name] = random.integers(0, 256, shape, dtype=np.uint8)
            case "tensor(int64)":
                made[each.name] = random.integers(5, 40, shape)
            case _:
                made[each.name] = 0.1 * random.standard_normal(shape).astype(np.float32)
    return made


def milliseconds(found: Any, given: dict[str, Any]) -> float:
    """Processor time of a run."""
    count, begin = 0, time.process_time()
    while time.process_time() - begin < SECONDS:
        found.run(None, given)
        count += 1
    return 1000 * (time.process_time() - begin) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", type=Path)
    print("model         form     batch  fp32 ms  int8 ms  ratio  size  samples   model    int8   equal")
    for run in parser.parse_args().run:
        files = [run / "export" / name for name in ("model.onnx", "model.int8.onnx")]
        card = json.loads((run / "export" / "model.int8.onnx.json").read_text(encoding="utf-8"))
        fp32, int8 = map(session, files)
        share, said = files[1].stat().st_size / files[0].stat().st_size, card["measured"]
        for batch in (1, 32):
            given = inputs(fp32, batch, card)
            pairs = [(milliseconds(fp32, given), milliseconds(int8, given)) for _ in range(ROUNDS)]
            one, other = (statistics.median(times) for times in zip(*pairs, strict=True))
            ratio = statistics.median(before / after for before, after in pairs)
            print(
                f"{run.parent.name:<13} {card['quantised']:<7}  {batch:5}  {one:7.2f}  {other:7.2f}  {ratio:5.2f}"
                f"  {share:4.2f}  {said['samples']:7,}  {said['model']:.4f}  {said['export']:.4f}"
                f"  {100 * said['agreement']:6.2f}"
            )


if __name__ == "__main__":
    main()
