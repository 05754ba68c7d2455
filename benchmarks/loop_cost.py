"""Microseconds a step of the loop, beside plain PyTorch and four frameworks, in one process.

    pip install -r benchmarks/requirements.txt
    python benchmarks/loop_cost.py [--rounds 5]

A tiny network, so that the loop is what is measured: 32-64-10, AdamW, cross-entropy, batch 32, 48,000 rows in memory,
five epochs a round. Everything logs its loss every 50 steps and shows progress as it does by default. The contenders
take turns, and each figure is the median of its rounds; the ratio is that to plain PyTorch of the same round.
"""

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ptapp_core.data.loader import Loader
from ptapp_core.fit import fit
from ptapp_core.kinds.kind import Supervised
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run

ROWS, BATCH, EPOCHS = 48_000, 32, 5
STEPS = EPOCHS * ROWS // BATCH
INPUT, TARGET = torch.randn(ROWS, 32), torch.randint(0, 10, (ROWS,))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(INPUT, TARGET), BATCH, shuffle=True)


def epochs(batches: DataLoader[Any]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return chain.from_iterable(batches for _ in range(EPOCHS))


def plain() -> None:
    """The loop that a user would write, with a progress bar and the loss every 50 steps."""
    from tqdm import tqdm

    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    losses = []
    for step, (x, y) in enumerate(tqdm(epochs(loader()), total=STEPS), start=1):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            losses.append(loss.item())


class Same:
    """The DataLoader of the others as a Source."""

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for x, y in epochs(loader()):
            yield {"input": x, "target": y}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def names(self, step: int) -> list[str]:
        return []


def ptapp(same_loader: bool) -> None:
    runtime = Runtime("cpu", "fp32")
    task = Supervised(network(), build_loss("cross-entropy"))
    source = Same() if same_loader else Loader({"input": INPUT, "target": TARGET}, BATCH, runtime)
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run", runtime, log_to=["tensorboard"]) as run:
        optimizer = build_optimizer(task.model, "adamw", lr=1e-3)
        fit(Plan(STEPS), runtime, run, task=task, source=source, optimizer=optimizer)


def fabric() -> None:
    from lightning.fabric import Fabric
    from tqdm import tqdm

    engine = Fabric(accelerator="cpu", devices=1)
    model, optimizer = engine.setup(
        model := network(), torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    )
    losses = []
    for step, (x, y) in enumerate(tqdm(epochs(engine.setup_dataloaders(loader())), total=STEPS), start=1):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        engine.backward(loss)
        optimizer.step()
        if step % 50 == 0:
            losses.append(loss.item())


def accelerate() -> None:
    from accelerate import Accelerator
    from tqdm import tqdm

    engine = Accelerator(cpu=True)
    model = network()
    model, optimizer, batches = engine.prepare(
        model, torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0), loader()
    )
    losses = []
    for step, (x, y) in enumerate(tqdm(epochs(batches), total=STEPS), start=1):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        engine.backward(loss)
        optimizer.step()
        if step % 50 == 0:
            losses.append(loss.item())


def trainer() -> None:
    from transformers import Trainer, TrainingArguments

    class Labelled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.network(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    class Named(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
        def __len__(self) -> int:
            return ROWS

        def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
            return {"x": INPUT[row], "labels": TARGET[row]}

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            learning_rate=1e-3,
            weight_decay=0.0,
            logging_steps=50,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
        )
        Trainer(Labelled(), arguments, train_dataset=Named()).train()


def lightning() -> None:
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            x, y = batch
            loss = nn.functional.cross_entropy(self.network(x), y)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=0.0)

    with tempfile.TemporaryDirectory() as folder:
        L.Trainer(max_epochs=EPOCHS, accelerator="cpu", default_root_dir=folder, enable_checkpointing=False).fit(
            Module(), loader()
        )


CONTENDERS: dict[str, Callable[[], None]] = {
    "plain PyTorch": plain,
    "ptapp, in-memory loader": lambda: ptapp(False),
    "ptapp, same DataLoader": lambda: ptapp(True),
    "Fabric": fabric,
    "Accelerate": accelerate,
    "transformers Trainer": trainer,
    "Lightning": lightning,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for number in range(rounds + 1):  # the first warms up
        for name, contender in CONTENDERS.items():
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                start = time.perf_counter()
                contender()
                seconds = time.perf_counter() - start
            if number:
                times[name].append(1e6 * seconds / STEPS)
    print(f"{'':26} µs/step  to plain")
    for name, values in times.items():
        ratios = [value / base for value, base in zip(values, times["plain PyTorch"], strict=True)]
        print(f"{name:26} {statistics.median(values):7.0f}  {statistics.median(ratios):8.2f}")


if __name__ == "__main__":
    main()
