"""Seconds until CartPole is solved beside Stable-Baselines3: each with its own settings for it, one thread.

    pip install stable-baselines3==2.9.2      (any environment that also has ptapp-rl)
    OMP_NUM_THREADS=1 python benchmarks/rl_solve.py [ppo a2c dqn] [--seeds 0-4]

Solved is the first of the evaluations, one after every 2,560 frames, in which 100 episodes of the policy as it then is
have a mean return of at least 475. Both are evaluated by the same function, whose time counts for neither. ptapp has
its defaults, SB3 the settings and the frames of RL Baselines3 Zoo (hyperparams/{ppo,a2c,dqn}.yml, CartPole-v1). The two
take turns. Seconds are of the clock and of the process; what is not solved is infinitely slow.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf, isinf
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ptapp_core.fit import fit
from ptapp_core.jobs import runtime_of, schedule_of
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.runs.run import Run
from ptapp_rl.algos.build import build, frames_per_step, plan_of, task_and_source
from ptapp_rl.card import card_of
from ptapp_rl.config import TrainRL, seed_list
from ptapp_rl.envs.vector import Environments

EVERY, SOLVED, EPISODES = 2_560, 475.0, 100
ZOO_FRAMES = {"ppo": 100_000, "a2c": 500_000, "dqn": 50_000}
Actor = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


@dataclass(frozen=True)
class Result:
    """When it was solved; infinite where it was not."""

    seconds: float = inf
    process: float = inf
    frames: float = inf


class Solved(Exception):
    """Ends the training."""


class Clock:
    """Time since it was made, less that of the evaluations."""

    def __init__(self) -> None:
        self._begin, self._process = time.perf_counter(), time.process_time()

    def evaluate(self, actor: Actor, frames: int) -> Result | None:
        """The result, once the actor solves it."""
        result = Result(time.perf_counter() - self._begin, time.process_time() - self._process, frames)
        if mean_return(actor) >= SOLVED:
            return result
        self._begin = time.perf_counter() - result.seconds
        self._process = time.process_time() - result.process
        return None


def mean_return(actor: Actor) -> float:
    """One episode in each of 100 environments, the same at each evaluation."""
    environments: Any = gym.make_vec("CartPole-v1", EPISODES, vectorization_mode="vector_entry_point")
    seen, _ = environments.reset(seed=12_345)
    returns, alive = np.zeros(EPISODES), np.ones(EPISODES, dtype=np.bool_)
    while alive.any():
        seen, rewards, terminated, truncated, _ = environments.step(actor(seen))
        returns += rewards * alive
        alive &= ~(terminated | truncated)
    return float(returns.mean())


def ours(algorithm: str, seed: int) -> Result:
    settings = TrainRL.resolve(None, {"algo": algorithm, "device": "cpu", "seed": seed})
    runtime = runtime_of(settings)
    environments = Environments("CartPole-v1", settings.envs, seed=seed)
    torch.manual_seed(seed)
    model = build(card_of(settings, environments))
    plan = replace(plan_of(settings), eval_every=round(EVERY / frames_per_step(settings)))
    optimizer = build_optimizer(model, settings.optimizer, lr=settings.lr, momentum=settings.momentum)
    schedule = schedule_of(settings, optimizer, plan)
    task, source = task_and_source(settings, model, environments, runtime=runtime, say=lambda line: None)
    result = Result()

    def evaluate(module: nn.Module) -> Mapping[str, float]:
        nonlocal result
        solved = clock.evaluate(lambda seen: module(torch.from_numpy(seen)).numpy(), environments.frames)
        if solved:
            result = solved
            raise Solved
        return {"return": 0.0}

    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        try:
            with Run(f"{folder}/run", runtime) as run:
                fit(
                    plan,
                    runtime,
                    run,
                    task=task,
                    source=source,
                    optimizer=optimizer,
                    schedule=schedule,
                    evaluate=evaluate,
                )
        except Solved:
            pass
    return result


def theirs(algorithm: str, seed: int) -> Result:
    import stable_baselines3 as sb3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    def falling(start: float) -> Callable[[float], float]:
        return lambda left: left * start

    env = make_vec_env("CartPole-v1", n_envs=1 if algorithm == "dqn" else 8, seed=seed)
    common: dict[str, Any] = {"device": "cpu", "seed": seed}
    match algorithm:
        case "ppo":
            model: Any = sb3.PPO(
                "MlpPolicy",
                env,
                n_steps=32,
                batch_size=256,
                n_epochs=20,
                gae_lambda=0.8,
                gamma=0.98,
                ent_coef=0.0,
                learning_rate=falling(1e-3),
                clip_range=falling(0.2),
                **common,
            )
        case "a2c":
            model = sb3.A2C("MlpPolicy", env, ent_coef=0.0, **common)
        case _:
            model = sb3.DQN(
                "MlpPolicy",
                env,
                learning_rate=2.3e-3,
                batch_size=64,
                buffer_size=100_000,
                learning_starts=1_000,
                gamma=0.99,
                target_update_interval=10,
                train_freq=256,
                gradient_steps=128,
                exploration_fraction=0.16,
                exploration_final_eps=0.04,
                policy_kwargs={"net_arch": [256, 256]},
                **common,
            )

    class Evaluation(BaseCallback):  # type: ignore[misc]
        result = Result()

        def _on_step(self) -> bool:
            if self.num_timesteps % EVERY:
                return True
            solved = clock.evaluate(lambda seen: model.predict(seen, deterministic=True)[0], self.num_timesteps)
            self.result = solved or self.result
            return solved is None

    evaluation = Evaluation()
    clock = Clock()
    model.learn(ZOO_FRAMES[algorithm], callback=evaluation)
    return evaluation.result


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("algorithms", nargs="*", default=["ppo", "a2c", "dqn"])
    parser.add_argument("--seeds", type=seed_list, default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", choices=["ptapp", "SB3"], help="leave the other out")
    arguments = parser.parse_args()
    sides = {"ptapp": ours, "SB3": theirs}
    if arguments.only:
        sides = {arguments.only: sides[arguments.only]}
    for algorithm in arguments.algorithms:
        medians: dict[str, Result] = {}
        results: dict[str, list[Result]] = {side: [] for side in sides}
        for seed in arguments.seeds:
            for side, solve in sides.items():
                results[side].append(solve(algorithm, seed))
                print(f"{algorithm} seed {seed}, {side}: {shown(results[side][-1])}", flush=True)
        for side, found in results.items():
            medians[side] = Result(*(median(getattr(r, name) for r in found) for name in vars(found[0])))
            solved = sum(not isinf(r.frames) for r in found)
            print(f"{algorithm} {side}: {solved} of {len(found)} solved, median {shown(medians[side])}", flush=True)
        if len(medians) == 2:
            ratio = medians["SB3"].process / medians["ptapp"].process
            print(f"{algorithm}: SB3 takes {ratio:.1f} times as long", flush=True)


def shown(result: Result) -> str:
    if isinf(result.frames):
        return "not solved"
    return f"{result.seconds:.1f} s ({result.process:.1f} s of the process), {result.frames:,.0f} frames"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
