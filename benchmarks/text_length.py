"""What a text costs by its length: processor time and memory of learning from a batch, on one thread.

    python benchmarks/text_length.py --picture docs/length.png

Each measurement is a process of its own, whose largest resident set before and after a few steps says what they take.
The models are those of `ptapp nlp train --task classify` with its defaults, in the precision of the processor.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from ptapp_core.kinds.kind import Supervised
from ptapp_core.machine.inplace import recompute_activations
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_nlp.card import Card, Options
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.models import build
from ptapp_nlp.models.optimise import blocks_of

VOCAB, STEPS = 8000, 2
FORMS = ("lstm", "transformer", "transformer, recomputed")


def measure(form: str, length: int, batch: int) -> dict[str, float]:
    """Processor seconds of a step, and the bytes that it takes beyond the model."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    name, _, recomputed = form.partition(", ")
    settings, runtime = TrainNLP(model=name), Runtime("cpu")
    options = Options(**{field: getattr(settings, field) for field in Options.model_fields})
    card = Card(
        task="classify", name=name, vocab=VOCAB, pad=0, classes=("0", "1"), max_length=length, text_per="line",
        pretrained=None, options=options,
    )  # fmt: skip
    model = build(card)
    if recomputed:
        recompute_activations(blocks_of(model))
    task = Supervised(model, build_loss("cross-entropy")).train()
    ids = torch.randint(4, VOCAB, (batch, length))
    ids[1:, -length // 8 :] = 0  # as in a job, the others are padded
    target = torch.randint(0, 2, (batch,))

    def step(rows: torch.Tensor) -> None:
        with runtime.autocast():
            loss, _, _ = task({"input": rows, "target": target})
        loss.backward()

    step(ids[:, :16])
    before, started = _largest(), time.process_time()
    for _ in range(STEPS):
        step(ids)
    return {"seconds": (time.process_time() - started) / STEPS, "bytes": _largest() - before}


def _largest() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def draw(found: dict[str, list[tuple[int, dict[str, float]]]], batch: int, picture: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    speed, memory = figure.subplots(1, 2)
    for form, rows in found.items():
        lengths = [length for length, _ in rows]
        speed.plot(lengths, [length * batch / row["seconds"] for length, row in rows], marker="o", label=form)
        memory.plot(lengths, [row["bytes"] / 2**30 for _, row in rows], marker="o", label=form)
    speed.set(xlabel="tokens of a text", ylabel="tokens learned from a second", xscale="log", yscale="log")
    memory.set(xlabel="tokens of a text", ylabel=f"GiB of a step with {batch} texts", xscale="log", yscale="log")
    for axes in (speed, memory):
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.minorticks_off()
    speed.legend(frameon=False)
    figure.savefig(picture, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]), given.batch)))
        return
    found: dict[str, list[tuple[int, dict[str, float]]]] = {form: [] for form in FORMS}
    for form in FORMS:
        for length in given.lengths:
            words = [sys.executable, __file__, "--batch", str(given.batch), "--one", form, str(length)]
            row = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            found[form].append((length, row))
            rate = length * given.batch / row["seconds"]
            print(f"{form:24} {length:6,} tokens  {rate:9,.0f} tokens/s  {row['bytes'] / 2**20:9,.1f} MiB", flush=True)
    if given.picture:
        draw(found, given.batch, given.picture)


if __name__ == "__main__":
    main()
