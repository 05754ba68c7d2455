"""How good a policy is: episodes in environments of their own, and what can be said from so many."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from ptapp_core.errors import UserError, counted
from ptapp_core.jobs import Trained
from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.run import write_json
from ptapp_core.settings.after_training import OfRun
from ptapp_rl.algos.build import build
from ptapp_rl.algos.sac import SoftPolicy
from ptapp_rl.card import About
from ptapp_rl.config import EvaluateRL, TrainRL
from ptapp_rl.envs.names import LONGEST, is_endless, limit_note, limit_of, refuse_code_of, resolve, say_code_of
from ptapp_rl.envs.spaces import action_form, each, observation_form
from ptapp_rl.envs.vector import Environments
from ptapp_rl.models.actor import ActorCritic
from ptapp_rl.models.recurrent import Recurrent, Remembering

Policy = Callable[[Any], Tensor] | Remembering
"""Observations, (N, ...), to actions, (N, ...), as the environment takes them."""
APART = 500_000_003  # evaluation seeds begin here, far from those of training
_AT_ONCE = 32


def evaluate(settings: EvaluateRL) -> None:
    """Plays episodes with a run's policy, and leaves the figures in `evaluation/` of the run."""
    runtime = Runtime(settings.device, "fp32")
    trained, job, name = find(settings)
    model = runtime.place(trained.load(build))
    masked = trained.about.model.masked
    environments = evaluation_environments(job, name, settings.episodes, seed=settings.seed + 1, masked=masked)
    refuse_other_spaces(trained, name, environments)
    drawn = settings.draws(job)
    actions = "actions drawn from the policy" if drawn else "the likeliest actions"
    print(f"{trained.checkpoint.name} of {settings.run} on {environments.name}, by {actions}")
    if note := limit_note(name, job.max_episode_steps):
        print(note)
    with closing(environments):
        policy = policy_of(model, drawn, settings.seed + 1)
        returns = play(policy, environments, settings.episodes, runtime=runtime)
    report(returns, settings.run / "evaluation", stochastic=drawn)


def find(settings: OfRun) -> tuple[Trained[About], TrainRL, str]:
    """A run, its settings, and the registered name of its environment."""
    run = settings.run
    if not (run / "meta.json").is_file() and (runs := sorted(run.glob("runs/*/*/meta.json"))):
        raise UserError(f"{run}: holds the runs of --seeds, {len(runs)} of them: give one, as {runs[0].parent}")
    trained = Trained.find(run, "rl", About, which=settings.checkpoint)
    job = TrainRL.of_run(run)
    refuse_code_of(run, **job.own_code())
    say_code_of(print, **job.own_code())
    return trained, job, resolve(job.env, trained.about.env, wrap=job.wrap)


def evaluation_environments(
    settings: TrainRL,
    name: str,
    episodes: int,
    *,
    seed: int = 0,
    budget: int | None = None,
    instance: gym.Env[Any, Any] | None = None,
    masked: bool = True,
) -> Environments:
    """Environments to evaluate in, none of whose episodes training sees, and all of whose episodes end.

    They are fewer where so many long episodes would exceed the `budget` (see `play`), and one where the job has but
    one: the `instance`, if it is given, or a new one. They are `masked` where the policy's card is.
    """
    at_once = min(episodes, 1 if settings.one_instance else _AT_ONCE)
    return Environments(
        name,
        at_once if budget is None else min(at_once, budget // LONGEST),
        seed=APART + seed,
        vector=settings.vector,
        stack=settings.stack,
        limit=limit_of(name, settings.max_episode_steps),
        trial=False,
        instance=instance,
        masked=masked,
    )


def refuse_other_spaces(trained: Trained[About], name: str, found: Environments | gym.Env[Any, Any]) -> None:
    """Raises UserError where the environment `name` shows or takes something else than when the run was trained."""
    card = trained.about.model
    masks = found.action_space if card.masked else None
    for part, now in (
        ("observation", observation_form(found.observation_space, name, masks)),
        ("action", action_form(found.action_space, name, card.algo)),
    ):
        if getattr(card, part) != now:
            raise UserError(
                f"{trained.run / 'meta.json'}: model.{part}: {name} has another now; use the version of "
                "the environment that the run was trained in"
            )


def budget_of(settings: TrainRL, name: str, every: int | None = None) -> int | None:
    """Frames after which the evaluation of an environment without a limit begins no more episodes; None with a limit.

    A policy that goes round in circles would take a hundred times the frames that it learned from. They are those
    between two evaluations, `every`, or those of the whole job, and enough for one episode that does not end.
    """
    if settings.max_episode_steps is not None or not is_endless(name):
        return None
    return max(LONGEST, min(every or settings.frames, settings.frames))


def policy_of(model: nn.Module, stochastic: bool, seed: int) -> Policy:
    """What plays: the model, which takes the likeliest actions, or draws from its distribution by a seeded generator.

    One with a memory is for episodes that begin with the first call.

    Raises:
        UserError: the model has no distribution over actions.
    """
    random = np.random.default_rng((APART, seed)) if stochastic else None
    if isinstance(model, Recurrent):
        return Remembering(model, random)
    if random is None:
        return model
    if not isinstance(model, (ActorCritic, SoftPolicy)):
        raise UserError(
            "--stochastic: DQN, TD3 and DDPG have one action for each observation, and no distribution to draw from: "
            "leave it out"
        )
    return partial(model.drawn, random=random)


@torch.inference_mode()
def play(
    policy: Policy, environments: Environments, episodes: int, *, runtime: Runtime, budget: int | None = None
) -> list[float]:
    """The returns of so many episodes; each environment plays its share, so that short ones count no more.

    The environments begin their episodes.

    They are fewer where the frames reach the `budget`: what is being played then is the last of each environment.
    """
    quotas = np.array([len(share) for share in np.array_split(np.arange(episodes), environments.count)])
    returns: list[list[float]] = [[] for _ in quotas]
    running, frames = np.zeros(len(quotas)), 0
    plays = quotas > 0
    while plays.any():
        seen, ended = runtime.to_device(each(environments.observations, torch.from_numpy)), environments.over
        environments.step(policy(seen).cpu().numpy())
        if isinstance(policy, Remembering):
            policy.forget(ended)
        running += environments.raw_rewards
        frames += environments.count
        for index in environments.over.nonzero()[0]:
            if plays[index]:
                returns[index].append(float(running[index]))
                plays[index] = len(returns[index]) < quotas[index] and (budget is None or frames < budget)
            running[index] = 0.0
    return [value for done in returns for value in done]


def figures(returns: list[float]) -> dict[str, float]:
    """Mean, interquartile mean, and the 95 % bootstrap interval of the mean (Agarwal et al. 2021 say why)."""
    values = np.array(returns)
    low, high = interval(values)
    middle = np.sort(values)[len(values) // 4 : len(values) - len(values) // 4]
    return {
        "return": float(values.mean()),
        "iqm": float(middle.mean()),
        "low": low,
        "high": high,
        "least": float(values.min()),
        "greatest": float(values.max()),
    }


def interval(values: Any, draws: int = 2_000) -> tuple[float, float]:
    """The 95 % interval of the mean of (n,) values, by drawing them again with replacement."""
    chosen = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(np.asarray(values)[chosen].mean(1), (0.025, 0.975))
    return float(low), float(high)


def report(returns: list[float], folder: Path, *, stochastic: bool, asked: int = 0, say: Any = print) -> None:
    """Figures of the returns to the console, and with all of them to `folder`/metrics.json.

    Says so where they are fewer than the episodes that were `asked` for.
    """
    if len(returns) < asked:
        say(
            f"only {len(returns)} of {counted(asked, 'episode')} were played: they took all the frames of an evaluation"
        )
    found = figures(returns)
    folder.mkdir(parents=True, exist_ok=True)
    actions = "drawn" if stochastic else "likeliest"
    record = {"test": found, "episodes": len(returns), "actions": actions, "returns": returns}
    write_json(folder / "metrics.json", record)
    say(
        f"{counted(len(returns), 'episode')}: mean return {found['return']:.1f}, 95 % interval {found['low']:.1f} to "
        f"{found['high']:.1f}, interquartile mean {found['iqm']:.1f}, "
        f"range {found['least']:.1f} to {found['greatest']:.1f}"
    )
    say(f"report: {folder}")
