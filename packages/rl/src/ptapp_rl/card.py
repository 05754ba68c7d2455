"""What a run's `meta.json` holds of a policy: as it is made, and as it is read back."""

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import choose_device
from ptapp_core.runs.typed import Size, Typed
from ptapp_core.settings.fields import flag
from ptapp_rl.config import TrainRL
from ptapp_rl.envs.forms import Form
from ptapp_rl.envs.spaces import action_card
from ptapp_rl.envs.vector import Environments


class _Action(Typed):
    shape: list[Size]
    dtype: str


class _Discrete(_Action):
    kind: Literal["discrete"]
    n: Size
    start: int


class _Choices(_Action):
    kind: Literal["multidiscrete"]
    nvec: list[Size]
    start: list[int]


class _Box(_Action):
    kind: Literal["box"]
    low: list[float]
    high: list[float]


class Card(Typed):
    """What it takes to build the policy again, and to use it."""

    algo: Literal["dqn", "reinforce", "a2c", "ppo"]
    observation: Form
    action: Annotated[_Discrete | _Choices | _Box, Field(discriminator="kind")]
    max_episode_steps: Size | None
    normalise: bool
    hidden: list[Size] = Field(max_length=100)
    activation: Literal["tanh", "relu"]
    atoms: Size = 1
    dueling: bool = False
    value_min: float | None = None
    value_max: float | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.algo == "dqn" and self.model_fields_set.isdisjoint(["atoms"]):
            raise ValueError("atoms is missing")
        return self


class About(Typed):
    """What `meta.json` holds."""

    env: str
    model: Card


def card_of(settings: TrainRL, environments: Environments) -> dict[str, Any]:
    """What it takes to build the model again; raises UserError for options that such observations leave unused."""
    _check_use(settings, environments.card)
    if choose_device(settings.device).type == "mps" and (settings.normalise or _is_wide(environments)):
        raise UserError(
            "--device: mps has no float64, the type of some observations and of the statistics of --normalise: "
            "give --device cpu"
        )
    card: dict[str, Any] = {
        "algo": settings.algo,
        "observation": environments.card,
        "action": action_card(environments.action_space, environments.name, settings.algo),
        "max_episode_steps": settings.max_episode_steps,
        "normalise": settings.normalise,
        "hidden": settings.hidden,
        "activation": settings.activation,
    }
    if settings.algo == "dqn":
        names = ("atoms", "dueling", "value_min", "value_max")
        card |= {name: getattr(settings, name) for name in names}
    return card


def _check_use(settings: TrainRL, observation: dict[str, Any]) -> None:
    parts = observation["parts"].values() if observation["kind"] == "dict" else [observation]
    if settings.normalise and all(part["kind"] != "vector" for part in parts):
        raise UserError(f"--normalise is for vectors, and {settings.env} shows none: leave it out")
    if observation["kind"] == "image":
        usual = TrainRL(algo=settings.algo, env=settings.env)
        for name in ("hidden", "activation"):
            if getattr(settings, name) != getattr(usual, name):
                raise UserError(f"{flag(name)} is not for images, whose network is given: leave it out")


def _is_wide(environments: Environments) -> bool:
    seen = environments.observations
    return any(part.dtype == np.float64 for part in (seen.values() if isinstance(seen, dict) else [seen]))
