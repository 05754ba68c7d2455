"""What to set where the user did not: by algorithm, and by environment where an algorithm's own defaults do not do.

docs/rl.md says what they reach, and on which seeds they were chosen.
"""

import re
from typing import Any

# Rates, discount, tau, buffer and updates of Stable-Baselines3 2; the layers are SAC's for TD3 and DDPG as well.
_CONTINUOUS: dict[str, Any] = {
    "frames": 100_000,
    "envs": 1,
    "hidden": [256, 256],
    "activation": "relu",
    "lr": 3e-4,
    "schedule": "constant",
    "gamma": 0.99,
    "clip": None,
    "buffer": 1_000_000,
    "train_every": 1,
    "tau": 0.005,
    "eval_every": 5_000,
    "log_every": 500,
}

_DQN: dict[str, Any] = {
    "frames": 50_000,
    "envs": 4,
    "hidden": [256, 256],
    "activation": "relu",
    "lr": 1e-3,
    "schedule": "constant",
    "gamma": 0.99,
    "batch_size": 64,
    "clip": 10.0,
    "n_step": 3,
    "eval_every": 2_500,
    "log_every": 500,
}

DEFAULTS: dict[str, dict[str, Any]] = {
    "ppo": {},  # the class's own
    "a2c": {
        "rollout": 16,
        "frames": 200_000,
        "envs": 8,
        "optimizer": "rmsprop",
        "lr": 2e-3,
        "momentum": 0.0,
        "gae": 1.0,
        "entropy": 0.0,
        "normalise_advantage": False,
        "batch_size": 128,
        "log_every": 100,
    },
    "reinforce": {
        "rollout": 256,
        "frames": 300_000,
        "gae": 1.0,
        "lr": 3e-3,
        "gamma": 0.99,
        "batch_size": 2048,
        "log_every": 10,
    },
    "dqn": _DQN,
    "rainbow": {
        **_DQN,
        "dueling": True,
        "prioritised": True,
        "priority_exponent": 0.5,
        "atoms": 51,
        "noisy": True,
    },
    "sac": _CONTINUOUS,
    "td3": {**_CONTINUOUS, "lr": 1e-3},
    "ddpg": {**_CONTINUOUS, "lr": 1e-3},
}
"""What an algorithm sets; `ptapp rl algos` prints it."""

_PENDULUM: dict[str, Any] = {
    "frames": 20_000,
    "gamma": 0.98,
    "buffer": 200_000,
    "learning_starts": 10_000,
    "hidden": [400, 300],
}

TUNED: dict[tuple[str, str], dict[str, Any]] = {
    ("ppo", "CartPole"): {"batch_size": 128, "passes": 8, "lr": 3e-3},
    ("ppo", "Acrobot"): {
        "frames": 200_000,
        "envs": 16,
        "normalise": True,
        "rollout": 64,
        "passes": 10,
        "gamma": 0.99,
        "gae": 0.94,
        "normalise_rewards": True,
        "entropy": 0.01,
        "eval_every": 20_000,
        "eval_episodes": 50,
    },
    ("ppo", "LunarLander"): {
        "frames": 1_000_000,
        "envs": 16,
        "rollout": 512,
        "batch_size": 128,
        "passes": 4,
        "gamma": 0.999,
        "gae": 0.98,
        "entropy": 0.01,
        "eval_every": 100_000,
    },
    ("dqn", "Acrobot"): {
        "frames": 100_000,
        "train_every": 4,
        "batch_size": 128,
        "eval_every": 10_000,
    },
    ("dqn", "LunarLander"): {
        "frames": 200_000,
        "lr": 6.3e-4,
        "batch_size": 128,
        "train_every": 2,
        "target_every": 250,
        "explore": 0.12,
        "epsilon": 0.1,
        "n_step": 1,
        "eval_every": 20_000,
    },
    ("ppo", "Pendulum"): {
        "frames": 200_000,
        "normalise": True,
        "normalise_rewards": True,
        "rollout": 128,
        "batch_size": 128,
        "passes": 10,
        "gamma": 0.9,
        "gae": 0.95,
    },
    # These three are RL Baselines3 Zoo's (hyperparams/sac.yml, td3.yml, ddpg.yml).
    ("sac", "Pendulum"): {"frames": 20_000, "lr": 1e-3, "learning_starts": 100},
    ("td3", "Pendulum"): _PENDULUM,
    ("ddpg", "Pendulum"): _PENDULUM,
}
"""What an environment, by its bare name, sets beyond that; a job says so when it begins."""


def tuned_for(algorithm: str, env: str) -> dict[str, Any]:
    """The settings tuned for an environment, `CartPole` or `CartPole-v1`; none for most."""
    bare = re.sub(r"-v\d+$", "", env).lower()
    return next((more for (algo, name), more in TUNED.items() if (algo, name.lower()) == (algorithm, bare)), {})
