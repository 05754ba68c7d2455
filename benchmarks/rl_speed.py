"""Frames a second beside Stable-Baselines3 on CartPole: same network, environments, batch and update ratio, one thread.

    pip install stable-baselines3      (any environment that also has ptapp-rl)
    OMP_NUM_THREADS=1 python benchmarks/rl_speed.py

The two take turns, so that a busy machine slows both; seconds are those of the process, not of the clock. What differs
and is not hidden: ptapp steps Gymnasium's own vectorised CartPole with one call (SB3 has only vectors of single
environments), values a rollout in one forward pass after it, and its DQN is double where `double` says so.
"""

import sys
import tempfile
import time
import warnings
from dataclasses import replace
from typing import Any

import torch

from ptapp_core.fit import fit
from ptapp_core.jobs import runtime_of, schedule_of
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.runs.run import Run
from ptapp_rl.algos.build import build, plan_of, task_and_source
from ptapp_rl.card import card_of
from ptapp_rl.config import TrainRL
from ptapp_rl.envs.vector import Environments

JOBS: dict[str, dict[str, Any]] = {
    "ppo": {"frames": 12_288, "envs": 8, "rollout": 32, "batch_size": 256, "passes": 20},
    "a2c": {"frames": 20_000, "envs": 8, "rollout": 5, "batch_size": 40},
    "dqn": {"frames": 6_000, "envs": 1, "train_every": 2, "batch_size": 64, "double": False, "n_step": 1},
}


def ours(algorithm: str) -> float:
    settings = TrainRL.resolve(None, {"algo": algorithm, "device": "cpu", **JOBS[algorithm]})
    runtime = runtime_of(settings)
    environments = Environments("CartPole-v1", settings.envs, seed=0)
    model = build(card_of(settings, environments))
    plan = replace(plan_of(settings), log_every=10**9)
    optimizer = build_optimizer(model, settings.optimizer, lr=settings.lr, momentum=settings.momentum)
    schedule = schedule_of(settings, optimizer, plan)
    task, source = task_and_source(settings, model, environments, runtime=runtime, say=lambda line: None)
    with tempfile.TemporaryDirectory() as folder, Run(f"{folder}/run", runtime) as run:
        begin = time.process_time()
        fit(plan, runtime, run, task=task, source=source, optimizer=optimizer, schedule=schedule)
        return environments.frames / (time.process_time() - begin)


def theirs(algorithm: str) -> float:
    import stable_baselines3 as sb3
    from stable_baselines3.common.env_util import make_vec_env

    job = JOBS[algorithm]
    env = make_vec_env("CartPole-v1", n_envs=job["envs"], seed=0)
    layers = [256, 256] if algorithm == "dqn" else [64, 64]
    common: dict[str, Any] = {"policy_kwargs": {"net_arch": layers}, "device": "cpu", "seed": 0}
    match algorithm:
        case "ppo":
            model: Any = sb3.PPO("MlpPolicy", env, n_steps=32, batch_size=256, n_epochs=20, **common)
        case "a2c":
            model = sb3.A2C("MlpPolicy", env, n_steps=5, **common)
        case _:
            model = sb3.DQN("MlpPolicy", env, batch_size=64, train_freq=2, learning_starts=1000, **common)
    begin = time.process_time()
    model.learn(job["frames"])
    return job["frames"] / (time.process_time() - begin)


def main() -> None:
    torch.set_num_threads(1)
    for algorithm in sys.argv[1:] or JOBS:
        rates = [(ours(algorithm), theirs(algorithm)) for _ in range(3)]
        best = [max(side) for side in zip(*rates, strict=True)]
        ratio = best[0] / best[1]
        print(f"{algorithm}: ptapp {best[0]:,.0f} frames/s, SB3 {best[1]:,.0f}: {ratio:.1f} times", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
