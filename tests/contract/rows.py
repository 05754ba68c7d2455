"""The rows of the contract tests: a domain joins all of them by adding one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ptapp_core.classify import Classification, predict
from ptapp_core.loader import Loader
from ptapp_core.losses import build_loss
from ptapp_core.main import main
from ptapp_core.milestones import Evaluate
from ptapp_core.runtime import Runtime
from ptapp_core.task import Source, Task
from ptapp_rl.algos import build as build_policy
from ptapp_rl.dqn import DQN
from ptapp_rl.ppo import PPO


@dataclass(frozen=True)
class Row:
    """What a domain brings to the contract tests."""

    name: str
    train: Callable[[Path], list[str]]
    """Given a folder for its data: the command of a job of some 30 steps with random augmentation, and a checkpoint
    every 8 steps."""
    learner: Callable[[Runtime, int], tuple[Task, Source, Evaluate]]
    """Given the number of micro-batches: a task without batch statistics (the exception to contract 1) or dropout, a
    source with a ragged last batch, and an evaluation; the same at each call."""
    formats: tuple[str, ...]
    """What it exports to."""
    mistakes: dict[str, tuple[list[str], str]]
    """Options that are wrong -> the word that the message must contain."""
    same_clock: tuple[list[str], list[str]] = (["--accumulate", "1"], ["--accumulate", "2"])
    """Options between which steps and learning rates must not differ."""
    input: str = "input"
    """What the learner's batches call the input of the model."""
    exported: str = "classes"
    """What an export's card must tell besides its input."""

    def __str__(self) -> str:
        return self.name


def write_images(folder: Path, per_class: int = 40, size: int = 16) -> Path:
    """A folder per class of noisy bars: `across`, `down` and `both`."""
    random = np.random.default_rng(0)
    for name in ("across", "both", "down"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            image = random.integers(0, 120, (size, size))
            row, column = random.integers(2, size - 3, 2)
            if name != "down":
                image[row : row + 2] += 130
            if name != "across":
                image[:, column : column + 2] += 130
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def _vision_train(folder: Path) -> list[str]:
    data = write_images(folder / "bars")
    words = "vision train --epochs 5 --batch-size 16 --eval-every 2 --save-every 1.34 --log-every 5 --average ema"
    words += " --average-decay 0.9 --shift 0.1 --rotation 10 --device cpu --threads 1 --clip 1 --log-to none"
    return [*words.split(), "--data", str(data), "--run-dir", str(folder / "runs")]


def _vision_learner(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    # batches of 12, 12, 12, 12 and 1: with two ranks or micro-batches, some have no sample in the last
    data = {"input": torch.randn(49, 1, 8, 8), "target": torch.randint(0, 3, (49,))}
    loader = Loader(data, 12, runtime, accumulate=accumulate)

    def evaluate(measured: nn.Module) -> dict[str, float]:
        figures = predict(measured, data, runtime, batch_size=10).metrics()
        return {**figures, "loss": figures["nll"]}

    return Classification(model, build_loss("cross-entropy")), loader, evaluate


_COMMON = "--device cpu --threads 1 --log-to none --log-every 5 --eval-episodes 3 --test-episodes 3 --schedule cosine"
_RL = {  # some 30 steps each, a checkpoint every 8 and an evaluation every 10
    "ppo": "--envs 4 --rollout 16 --batch-size 32 --passes 3 --frames 320 --save-every 85 --eval-every 107 "
    "--normalise --normalise-rewards --average ema --average-decay 0.9",
    "dqn": "--envs 2 --train-every 4 --learning-starts 100 --frames 220 --save-every 32 --eval-every 40 --buffer 150 "
    "--hidden 16,16 --n-step 3 --prioritised --dueling --atoms 11 --vector sync --target-every 7",
    "a2c": "--env Pendulum --envs 2 --rollout 16 --batch-size 32 --frames 960 --save-every 256 --eval-every 320",
    "reinforce": "--env Acrobot --envs 2 --rollout 16 --batch-size 32 --frames 960 --save-every 256 --eval-every 320",
}


def _rl_train(algorithm: str, folder: Path) -> list[str]:
    return ["rl", "train", "--algo", algorithm, *f"{_RL[algorithm]} {_COMMON} --run-dir {folder}/runs".split()]


def _rl_learner(algorithm: str, runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    card = {"observation": {"kind": "vector", "shape": [4]}, "action": {"kind": "discrete", "n": 2, "start": 0}}
    card |= {"normalise": False, "hidden": [8], "activation": "tanh", "atoms": 1, "dueling": True, "algo": algorithm}
    model: Any = build_policy({**card, "value_min": 0.0, "value_max": 1.0})
    task: Task = DQN(model, target_every=5) if algorithm == "dqn" else PPO(model, clip_value=0.2, entropy=0.01)
    # batches of 12, 12, 12, 12 and 2
    numbers = ("reward", "factor", "weight", "advantage", "target", "value", "log_prob", "return")
    data = {name: torch.rand(50) for name in numbers} | {"action": torch.randint(0, 2, (50,))}
    data |= {"observation": torch.randn(50, 4), "following": torch.randn(50, 4)}

    first = [parameter.detach().clone() for parameter in model.parameters()]

    def evaluate(measured: nn.Module) -> dict[str, float]:  # falls with each step, so that the last is the best
        moved = [(now - before).square().sum() for now, before in zip(measured.parameters(), first, strict=True)]
        return {"loss": -float(sum(moved))}

    return task, Loader(data, 12, runtime, accumulate=accumulate), evaluate


def _rl_row(algorithm: str, mistakes: dict[str, tuple[list[str], str]]) -> Row:
    return Row(
        f"rl-{algorithm}",
        partial(_rl_train, algorithm),
        partial(_rl_learner, algorithm),
        formats=("pt2", "onnx", "torchscript"),
        mistakes=mistakes,
        same_clock=(["--vector", "sync"], ["--vector", "async"]),
        input="observation",
        exported="action",
    )


ROWS = [
    Row(
        "vision",
        _vision_train,
        _vision_learner,
        formats=("pt2", "onnx", "torchscript"),
        mistakes={
            "missing path": (["--data", "no/such/folder"], "no/such/folder"),
            "unknown model": (["--model", "fercn"], "fercnn"),
            "unknown choice": (["--optimizer", "admw"], "adamw"),
            "out of bounds": (["--lr", "-1"], "--lr"),
            "not a number": (["--epochs", "ten"], "--epochs"),
            "batch larger than the set": (["--batch-size", "5000"], "--batch-size"),
            "unknown option": (["--batchsize", "5"], "--batch-size"),
            "not a run": (["--resume", "."], "config.toml"),
        },
    ),
    _rl_row(
        "ppo",
        {
            "unknown environment": (["--env", "CartPol"], "CartPole"),
            "unknown algorithm": (["--algo", "poo"], "ppo"),
            "another algorithm's option": (["--double", "--dueling"], "--dueling is an option of dqn"),
            "batch that does not divide": (["--batch-size", "30"], "--batch-size 30"),
            "not a run": (["--resume", "."], "config.toml"),
        },
    ),
    _rl_row(
        "dqn",
        {
            "actions that do not fit": (["--env", "Pendulum"], "reinforce, a2c, ppo"),
            "buffer beyond the memory": (["--buffer", "1000000000000"], "free"),
            "nothing to learn from": (["--frames", "50"], "--learning-starts"),
            "module that is not there": (["--env", "nowhere:Game"], "nowhere"),
        },
    ),
]
RESUMED = [*ROWS, _rl_row("a2c", {}), _rl_row("reinforce", {})]
"""Those of the exactness of a resumed job, where every algorithm has something of its own."""


def command(words: list[str]) -> int:
    """Runs `ptapp WORDS` in this process."""
    return main(words)


def process(
    words: list[str], *, signal_at: tuple[int, signal.Signals] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `ptapp WORDS` in a process of its own, which sends itself a signal right after the given step."""
    code = "import os, sys\nfrom ptapp_core.main import main\n"
    if signal_at:
        step, number = signal_at
        code += f"""
from ptapp_core.milestones import Milestones
original = Milestones.pass_step
def pass_step(self, stop):
    if self.progress.step == {step}:
        os.kill(os.getpid(), {int(number)})
    original(self, stop)
Milestones.pass_step = pass_step
"""
    code += "sys.exit(main(sys.argv[1:]))"
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment, timeout=300
    )


def only_run(folder: Path) -> Path:
    """The one run directory under `folder`/runs."""
    (run,) = (folder / "runs").glob("*/*")
    return run


def last_checkpoint(run: Path) -> Path:
    """The folder of the last step."""
    return sorted((run / "checkpoints").glob("step-*"))[-1]


def record(run: Path) -> list[dict[str, Any]]:
    """The metrics of a run without its speeds."""
    import json

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "units/s"} for line in lines]
