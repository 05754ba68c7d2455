"""What a run's `meta.json` holds of a policy, as it is read back."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ptapp_core.runs.typed import Size, Typed

_Shape = list[Size]
_Whole = list[int]


class _Seen(Typed):
    kind: Literal["vector", "image"]
    shape: _Shape


class _Numbers(Typed):
    kind: Literal["numbers"]
    nvec: list[Size]
    start: _Whole


class _Parts(Typed):
    kind: Literal["dict"]
    parts: dict[str, Annotated[_Seen | _Numbers, Field(discriminator="kind")]]


class _Action(Typed):
    shape: _Shape
    dtype: str


class _Discrete(_Action):
    kind: Literal["discrete"]
    n: Size
    start: int


class _Choices(_Action):
    kind: Literal["multidiscrete"]
    nvec: list[Size]
    start: _Whole


class _Box(_Action):
    kind: Literal["box"]
    low: list[float]
    high: list[float]


class Card(Typed):
    """What it takes to build the policy again, and to use it."""

    algo: Literal["dqn", "reinforce", "a2c", "ppo"]
    observation: Annotated[_Seen | _Numbers | _Parts, Field(discriminator="kind")]
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
    """What `meta.json` tells."""

    env: str
    model: Card
