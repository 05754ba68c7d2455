"""The rows of reinforcement learning: an algorithm each, for each has its own state."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from contract.row import Row
from ptapp_core.data.loader import Loader
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.runtime import Runtime
from ptapp_core.task import Source, Task
from ptapp_rl.algos.build import build
from ptapp_rl.algos.dqn import DQN
from ptapp_rl.algos.ppo import PPO
from ptapp_rl.algos.sac import SAC
from ptapp_rl.algos.td3 import TD3
from ptapp_rl.config import CONTINUOUS
from rl.cards import card_for

_COMMON = "--device cpu --threads 1 --log-to none --log-every 5 --eval-episodes 3 --test-episodes 3 --schedule cosine"
_JOBS = {  # some 30 steps each, a checkpoint every 8 and an evaluation every 10
    "ppo": "--envs 4 --rollout 16 --batch-size 32 --passes 3 --frames 320 --save-every 85 --eval-every 107 "
    "--normalise --normalise-rewards --average ema --average-decay 0.9",
    "dqn": "--env rl.games:IdentityDict --stack 2 --normalise --envs 2 --train-every 4 --learning-starts 100 "
    "--frames 220 --save-every 32 --eval-every 40 --buffer 150 --hidden 16,16 --n-step 3 --prioritised --dueling "
    "--atoms 11 --noisy --vector sync --target-every 7",
    "rainbow": "--env rl.games:Bits --envs 2 --train-every 4 --learning-starts 100 --frames 220 --save-every 32 "
    "--eval-every 40 --buffer 150 --hidden 16,16 --atoms 11 --n-step 1 --hindsight 0.7 --target-every 7 "
    "--value-min -6 --value-max 0",
    "a2c": "--env Pendulum --envs 2 --rollout 16 --batch-size 32 --frames 960 --save-every 256 --eval-every 320",
    "sac": "--env rl.games:IdentityContinuous --stack 2 --normalise --envs 2 --train-every 2 --learning-starts 20 "
    "--frames 80 --save-every 16 --eval-every 20 --buffer 50 --hidden 16,16 --batch-size 16 --vector sync "
    "--stochastic-eval",
    "td3": "--env Pendulum --envs 2 --train-every 2 --learning-starts 20 --frames 80 --save-every 16 --eval-every 20 "
    "--buffer 50 --hidden 16,16 --batch-size 16 --policy-every 3 --average ema --average-decay 0.9",
    "ddpg": "--env Pendulum --envs 2 --train-every 2 --learning-starts 20 --frames 80 --save-every 16 --eval-every 20 "
    "--buffer 50 --hidden 16,16 --batch-size 16",
    "reinforce": "--env rl.games:DoorsBoth --stack 2 --envs 2 --rollout 16 --batch-size 32 --frames 960 "
    "--save-every 256 --eval-every 320",
}


_TASKS: dict[str, Callable[[Any], Task]] = {
    "ppo": partial(PPO, clip_value=0.2, entropy=0.01),
    "dqn": partial(DQN, target_every=5),
    "sac": SAC,
    "td3": TD3,
}


def _train(algorithm: str, folder: Path) -> list[str]:
    return ["rl", "train", "--algo", algorithm, *f"{_JOBS[algorithm]} {_COMMON} --run-dir {folder}/runs".split()]


def _learner(algorithm: str, runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    model: Any = build(card_for(algorithm, **({"dueling": True, "noisy": True} if algorithm == "dqn" else {})))
    task = _TASKS[algorithm](model)
    # batches of 12, 12, 12, 12 and 2
    numbers = ("reward", "factor", "weight", "advantage", "target", "value", "log_prob")
    data = {name: torch.rand(50) for name in numbers}
    data["action"] = torch.rand(50, 2) if algorithm in CONTINUOUS else torch.randint(0, 2, (50,))
    data |= {"observation": torch.randn(50, 4), "following": torch.randn(50, 4)}
    size = getattr(model, "noise_size", 2)
    data |= {name: torch.randn(50, size) for name in getattr(task, "noises", ())}

    first = [parameter.detach().clone() for parameter in model.parameters()]

    def evaluate(measured: nn.Module) -> dict[str, float]:  # falls with each step, so that the last is the best
        moved = [(now - before).square().sum() for now, before in zip(measured.parameters(), first, strict=True)]
        return {"loss": -float(sum(moved))}

    return task, Loader(data, 12, runtime, accumulate=accumulate), evaluate


def _row(algorithm: str, mistakes: dict[str, tuple[list[str], str]], **variants: str) -> Row:
    return Row(
        f"rl-{algorithm}",
        partial(_train, algorithm),
        {"plain": "", **variants},
        partial(_learner, algorithm),
        formats=("pt2", "onnx", "torchscript"),
        mistakes=mistakes,
        same_clock=(["--vector", "sync"], ["--vector", "async"]),
        longer=("--frames", "448"),
        input="observation",
        exported="action",
    )


ASYNC = "--vector async"
ROWS = [
    _row(
        "ppo",
        {
            "unknown environment": (["--env", "CartPol"], "CartPole"),
            "unknown algorithm": (["--algo", "poo"], "ppo"),
            "another algorithm's option": (["--double", "--dueling"], "--dueling is an option of dqn, rainbow"),
            "batch that does not divide": (["--batch-size", "30"], "--batch-size 30"),
            "batch that cuts a sequence": (["--lstm", "8", "--batch-size", "8"], "give --batch-size 16"),
            "not a run": (["--resume", "."], "config.toml"),
            "runs in a file": (["--run-dir", "/dev/null"], "--run-dir /dev/null: /dev/null is no folder"),
            "seeds from greater to less": (["--seeds", "3-1"], "3 is greater than 1"),
        },
        workers=ASYNC,
        memory="--lstm 8 --target-kl 0.01",
    ),
    _row(
        "dqn",
        {
            "actions that do not fit": (["--env", "Pendulum"], "reinforce, a2c, ppo, sac, td3, ddpg"),
            "buffer beyond the memory": (["--buffer", "1000000000000"], "free"),
            "nothing to learn from": (["--frames", "50"], "--learning-starts"),
            "module that is not there": (["--env", "nowhere:Game"], "nowhere"),
        },
        workers=ASYNC,
    ),
    _row(
        "sac",
        {
            "actions that do not fit": (["--env", "CartPole"], "dqn, rainbow, reinforce, a2c, ppo"),
            "actions without bounds": (["--env", "rl.lessons:Wide"], "1 of 1 number of an action of Wide-v0 lack"),
            "another algorithm's option": (["--action-noise", "0.3"], "--action-noise is an option of td3, ddpg"),
            "no copies": (["--tau", "none"], "give a share"),
        },
    ),
    _row("td3", {"actions that do not fit": (["--env", "Acrobot"], "dqn, rainbow, reinforce, a2c, ppo")}),
]
RESUMED = [
    _row(
        "rainbow",
        {},
        quantiles="--no-noisy --atoms 1 --value-min none --value-max none --quantiles 5 --no-dueling --no-double",
    ),
    _row("a2c", {}, workers=ASYNC, memory="--lstm 8"),
    _row("reinforce", {}, workers=ASYNC),
    _row("ddpg", {}),
]
"""Those of the exactness of a resumed job alone."""
