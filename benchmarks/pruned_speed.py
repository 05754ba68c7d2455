"""The ONNX export of a run beside that of the run that was pruned from it, by onnxruntime on one thread.

    ptapp vision export RUN && ptapp vision export TUNED
    python benchmarks/pruned_speed.py RUN TUNED

Processor time, files in turns and ratios are as in `int8_speed.py`.
"""

import argparse
import json
import statistics
from pathlib import Path

from int8_speed import ROUNDS, inputs, milliseconds, session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("pruned", type=Path)
    given = parser.parse_args()
    files = [run / "export" / "model.onnx" for run in (given.run, given.pruned)]
    card = json.loads(files[0].with_name("model.onnx.json").read_text(encoding="utf-8"))
    whole, pruned = map(session, files)
    print(f"size {files[1].stat().st_size / files[0].stat().st_size:.2f}")
    print("batch  whole ms  pruned ms  ratio")
    for batch in (1, 32):
        given_inputs = inputs(whole, batch, card)
        pairs = [(milliseconds(whole, given_inputs), milliseconds(pruned, given_inputs)) for _ in range(ROUNDS)]
        one, other = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(before / after for before, after in pairs)
        print(f"{batch:5}  {one:8.2f}  {other:9.2f}  {ratio:5.2f}")


if __name__ == "__main__":
    main()
