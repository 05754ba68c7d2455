"""What a run's `meta.json` holds of a policy: as it is made, and as it is read back."""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import choose_device
from ptapp_core.runs.typed import Listed, Meta, Size, Typed
from ptapp_core.settings.fields import flag
from ptapp_rl.config import CONTINUOUS, OFF_POLICY, VALUES, Algorithm, TrainRL
from ptapp_rl.envs.forms import Action, Discrete, Mask, Observation, Parts, mask_of
from ptapp_rl.envs.spaces import FAMILIES, TAKES, action_form
from ptapp_rl.envs.vector import Environments


class Card(Typed):
    """What it takes to build the policy again, and to use it."""

    algo: Algorithm
    observation: Annotated[Observation, Field(discriminator="kind")]
    action: Annotated[Action, Field(discriminator="kind")]
    max_episode_steps: Size | None
    normalise: bool
    hidden: Annotated[Listed[Size], Field(max_length=100)]
    activation: Literal["tanh", "relu"]
    atoms: Size = 1
    dueling: bool = False
    value_min: float | None = None
    value_max: float | None = None
    quantiles: Size = 1
    noisy: bool = False
    lstm: Size | None = None

    @property
    def masked(self) -> bool:
        """Whether observations have a mask of actions, which the policy heeds."""
        return mask_of(self.observation) is not None

    @model_validator(mode="after")
    def _mask_fits(self) -> Self:
        parts = self.observation.parts.values() if isinstance(self.observation, Parts) else ()
        masks = [part for part in parts if isinstance(part, Mask)]
        if not masks:
            return self
        if masks != [mask_of(self.observation)] or len(masks) == len(parts):
            raise ValueError("a mask is the part action_mask of an observation, beside others")
        if not isinstance(self.action, Discrete) or masks[0].shape[-1] != self.action.n:
            raise ValueError("a mask has a number for each of the actions")
        return self

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.algo in VALUES and self.model_fields_set.isdisjoint(["atoms"]):
            raise ValueError("atoms is missing")
        if self.atoms > 1 and self.quantiles > 1:
            raise ValueError("a distribution has atoms or quantiles")
        if self.lstm is not None and self.algo in OFF_POLICY:
            raise ValueError(f"{self.algo} has no memory")
        if self.action.kind not in TAKES[self.algo]:
            raise ValueError(f"{self.algo} takes no {FAMILIES[self.action.kind]} actions")
        return self


class About(Meta[Card]):
    """What `meta.json` holds."""

    env: str


def card_of(settings: TrainRL, environments: Environments) -> Card:
    """What it takes to build the model again; raises UserError for options that such observations leave unused."""
    _check_use(settings, environments.form)
    if choose_device(settings.device).type == "mps" and (settings.normalise or _is_wide(environments)):
        raise UserError(
            "--device: mps has no float64, the type of some observations and of the statistics of --normalise: "
            "give --device cpu"
        )
    of_values = ("atoms", "dueling", "value_min", "value_max") if settings.algo in VALUES else ()
    # the cards of runs from before these lack them
    later = [
        name for name in ("quantiles", "noisy", "lstm") if getattr(settings, name) != Card.model_fields[name].default
    ]
    return Card(
        algo=settings.algo,
        observation=environments.form,
        action=action_form(environments.action_space, environments.name, settings.algo),
        max_episode_steps=settings.max_episode_steps,
        normalise=settings.normalise,
        hidden=tuple(settings.hidden),
        activation=settings.activation,
        **{name: getattr(settings, name) for name in (*of_values, *later)},
    )


def _check_use(settings: TrainRL, observation: Observation) -> None:
    parts = observation.parts.values() if isinstance(observation, Parts) else [observation]
    if settings.normalise and all(part.kind != "vector" for part in parts):
        raise UserError(f"--normalise is for vectors, and {settings.env} shows none: leave it out")
    if observation.kind == "image" and settings.algo not in CONTINUOUS:
        usual = TrainRL(algo=settings.algo, env=settings.env)
        for name in ("hidden", "activation"):
            if getattr(settings, name) != getattr(usual, name):
                raise UserError(f"{flag(name)} is not for images, whose network is given: leave it out")


def _is_wide(environments: Environments) -> bool:
    seen = environments.observations
    return any(part.dtype == np.float64 for part in (seen.values() if isinstance(seen, dict) else [seen]))
