"""Each algorithm solves a game that it must solve, and does not when its key part is broken."""

from pathlib import Path
from typing import Any

import pytest
import torch

import rl.games  # noqa: F401  (registers them)
from ptapp_core.fit import fit
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.run import Run
from ptapp_rl.algos.build import build, plan_of, task_and_source
from ptapp_rl.card import card_of
from ptapp_rl.config import TrainRL
from ptapp_rl.envs.spaces import TAKES
from ptapp_rl.envs.vector import Environments
from ptapp_rl.evaluate import play, policy_of
from ptapp_rl.experience import rollout
from ptapp_rl.experience.replay import Replay

pytestmark = pytest.mark.slow

CONTINUOUS: dict[str, Any] = {
    "frames": 1600,
    "envs": 4,
    "batch_size": 64,
    "learning_starts": 200,
    "hidden": [32],
    "lr": 3e-3,
    "train_every": 4,
    "tau": 0.05,
}
DQN: dict[str, Any] = {
    "frames": 1024,
    "batch_size": 32,
    "learning_starts": 64,
    "hidden": [32],
    "lr": 3e-3,
    "train_every": 4,
    "buffer": 1000,
    "n_step": 1,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "ppo": {"frames": 2048, "rollout": 32, "batch_size": 64, "passes": 4, "lr": 3e-3},
    "a2c": {"frames": 3072, "rollout": 8, "batch_size": 64, "lr": 5e-3},
    "reinforce": {"frames": 4096, "rollout": 16, "batch_size": 128, "lr": 1e-2},
    "dqn": DQN,
    "rainbow": {**DQN, "atoms": 21, "value_max": 3.0},
    "sac": CONTINUOUS,
    "td3": CONTINUOUS,
    "ddpg": CONTINUOUS,
}
GAMES = {
    "IdentityDiscrete-v0": 7.5,
    "IdentityMultidiscrete-v0": 7.5,
    "IdentityContinuous-v0": -0.5,
    "IdentityImage-v0": 7.5,
    "IdentityDict-v0": 7.5,
}
"""The return to reach; knowing nothing gives 2.7 of 8, or minus 2.7."""
MORE: dict[str, dict[str, dict[str, Any]]] = {
    "IdentityImage-v0": {
        **{algorithm: {"lr": 1e-3} for algorithm in ("ppo", "a2c", "reinforce")},
        "dqn": {"lr": 1e-3, "hidden": [256, 256]},  # the default, for its network is given
    },
    "IdentityContinuous-v0": {
        "ppo": {"frames": 6144},
        "a2c": {"frames": 12_288},
        "reinforce": {"frames": 16_384},
    },
}


def trained(algorithm: str, game: str, folder: Path, **more: Any) -> float:
    """The mean return of 32 episodes after training."""
    settings = TrainRL.resolve(None, {"algo": algorithm, "env": game, "gamma": 0.5, **OPTIONS[algorithm], **more})
    runtime = Runtime("cpu", "fp32", seed=0).set_up_process()
    environments = Environments(game, settings.envs, seed=0)
    model = build(card_of(settings, environments))
    optimizer = build_optimizer(model, settings.optimizer, lr=settings.lr, momentum=settings.momentum)
    task, source = task_and_source(settings, model, environments, runtime=runtime, say=lambda line: None)
    with Run(folder / "run", runtime) as run:
        fit(
            plan_of(settings),
            runtime,
            run,
            task=task,
            source=source,
            optimizer=optimizer,
            evaluate=lambda model: {"return": 0.0},
        )
    returns = play(policy_of(model, False, seed=0), Environments(game, 8, seed=99), 32, runtime=runtime)
    return sum(returns) / len(returns)


KINDS = {"IdentityMultidiscrete-v0": "multidiscrete", "IdentityContinuous-v0": "box"}
CASES = [(a, g) for a in OPTIONS if a != "rainbow" for g in GAMES if KINDS.get(g, "discrete") in TAKES[a]]
CASES.append(("rainbow", "IdentityDiscrete-v0"))  # which is DQN for the other games


@pytest.mark.parametrize(("algorithm", "game"), CASES)
def test_it_learns_to_tell_what_it_sees(algorithm: str, game: str, tmp_path: Path) -> None:
    assert trained(algorithm, game, tmp_path, **MORE.get(game, {}).get(algorithm, {})) > GAMES[game]


@pytest.mark.parametrize(
    ("algorithm", "game", "options"),
    [
        *((algorithm, game, {}) for algorithm, game in CASES),
        ("dqn", "IdentityDiscrete-v0", {"quantiles": 21}),
        ("dqn", "IdentityDiscrete-v0", {"noisy": True}),
    ],
    ids=str,
)
def test_it_learns_nothing_of_what_another_frame_brought(
    algorithm: str, game: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advantages, sample = rollout.advantages, Replay.sample

    def others(*arguments: Any, **named: Any) -> dict[str, Any]:
        batch = sample(*arguments, **named)
        return {**batch, "reward": batch["reward"].roll(1)}

    monkeypatch.setattr(rollout, "advantages", lambda *a, **named: advantages(*a, **named).roll(-1, 0))
    monkeypatch.setattr(Replay, "sample", others)
    more = MORE.get(game, {}).get(algorithm, {}) | options
    assert trained(algorithm, game, tmp_path, **more) < GAMES[game] - 1


@pytest.mark.parametrize(
    "options",
    [
        *({"double": False}, {"dueling": True}, {"n_step": 3}, {"prioritised": True}, {"tau": 0.02}),
        *({"atoms": 21}, {"quantiles": 21}, {"noisy": True}),
    ],
    ids=str,
)
def test_each_part_of_dqn_learns_too(options: dict[str, Any], tmp_path: Path) -> None:
    bounds = {"value_max": 3.0} if "atoms" in options else {}
    assert trained("dqn", "IdentityDiscrete-v0", tmp_path, **options, **bounds) > 7.5


def test_a_small_divergence_ends_a_rollout_early(tmp_path: Path) -> None:
    settings = TrainRL.resolve(None, {"env": "IdentityDiscrete-v0", "target_kl": 1e-4, **OPTIONS["ppo"]})
    runtime, environments = Runtime("cpu", "fp32"), Environments("IdentityDiscrete-v0", settings.envs, seed=0)
    model = build(card_of(settings, environments))
    task, source = task_and_source(settings, model, environments, runtime=runtime, say=lambda line: None)
    with Run(tmp_path / "run", runtime) as run:
        progress = fit(
            plan_of(settings),
            runtime,
            run,
            task=task,
            source=source,
            optimizer=torch.optim.Adam(model.parameters(), 1e-2),
        )
    assert environments.frames == settings.frames
    assert progress.step < plan_of(settings).steps / 2
