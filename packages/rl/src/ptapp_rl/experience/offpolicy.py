"""Playing while learning from replay, as a Source: DQN, DDPG, TD3 and SAC share it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.states import refuse_unlike
from ptapp_rl.envs.capture import decode_generator, encode_generator
from ptapp_rl.envs.normalise import RunningNorm, digits_note, size_note
from ptapp_rl.envs.spaces import Observations, bounds_note, each, refuse_odd
from ptapp_rl.envs.vector import Environments, Pace
from ptapp_rl.experience.replay import Replay
from ptapp_rl.models.actor import Bounded
from ptapp_rl.models.networks import largest, loses_digits, moments_of, take_in


@dataclass(frozen=True, kw_only=True)
class OffPolicyConfig:
    """How `OffPolicy` plays and draws batches; frames count over all environments and ranks.

    Args:
        batch_size: transitions of a batch on this rank.
        learning_starts: frames before the first batch.
        train_every: frames between two batches.
        seed: seeds actions and batches, with the rank.
    """

    batch_size: int
    learning_starts: int
    train_every: int
    seed: int = 0


class OffPolicy(ABC):
    """A Source that plays while the loop asks it for batches: `train_every` frames for each.

    Args:
        task: the `encoder` of its `model` sees the observations, and takes them into its statistics where it has any.
        say: takes a line for the user about what it observed.
    """

    def __init__(
        self,
        config: OffPolicyConfig,
        task: Any,
        environments: Environments,
        *,
        replay: Replay,
        runtime: Runtime,
        say: Callable[[str], None] = print,
    ) -> None:
        self._config, self._task, self._environments = config, task, environments
        self._replay, self._runtime, self._say = replay, runtime, say
        self._random = np.random.default_rng((config.seed, runtime.rank))
        self._encoder: Any = task.model.encoder
        self._normalises = any(isinstance(module, RunningNorm) for module in task.model.modules())
        self._given = 0
        self._pace = Pace(environments, runtime)
        replay.begin(environments.observations)

    @abstractmethod
    def _choose(self) -> tuple[Any, Any]:
        """An action for each environment: as the replay keeps them, and as the environments take them, (count, ...)."""

    @abstractmethod
    def _batch(self) -> dict[str, Any]:
        """A batch of the replay; so many were given before it: `_given`."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields batches without end."""
        config = self._config
        while True:
            due = config.learning_starts + self._given * config.train_every
            while self._environments.frames * self._runtime.world < due:
                self._play()
            batch = self._batch()
            self._given += 1
            if self._given == 1:
                self._note(batch["observation"])
            yield self._runtime.to_device(batch)

    def _note(self, observations: Observations) -> None:
        """Says what of the first batch's observations, and of the rewards so far, a network cannot learn well."""
        name = self._environments.name
        rewards = float(np.abs(self._replay.rewards()[0]).max())
        if loses_digits(self._encoder, observations):
            self._say(digits_note(name))
        if note := size_note("observations", name, largest(self._encoder, observations), option="--normalise"):
            self._say(note)
        if note := size_note("rewards", name, rewards, option="a wrapper of the environment"):
            self._say(note)
        if note := bounds_note(self._environments.observation_space, observations, name):
            self._say(note)

    def _play(self) -> Any:
        """Steps every environment once; returns the rewards, float (count,)."""
        environments = self._environments
        actions, taken = self._choose()
        reset = environments.over
        if self._normalises:
            seen = self._runtime.to_device(each(environments.observations, torch.from_numpy))
            take_in(self._encoder, moments_of(self._encoder, seen), self._runtime)
        rewards, terminated, _ = environments.step(taken)
        over, following = environments.over, environments.observations
        self._replay.add(actions, rewards, terminated, over=over, reset=reset, following=following)
        return rewards

    def state_dict(self) -> dict[str, Any]:
        """The environments, the replay buffer, the generator and the count of batches."""
        return {
            "environments": self._environments.state_dict(),
            "replay": self._replay.state_dict(),
            "random": encode_generator(self._random),
            "given": self._given,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues to play where the state was taken."""
        refuse_unlike({name: state[name] for name in ("random", "given")}, {"random": "", "given": 0})
        self._replay.load_state_dict(state["replay"])
        refuse_odd(each(state["replay"]["observations"], lambda part: part.flatten(0, 1)), self._environments.form)
        if not self._environments.load_state_dict(state["environments"]):
            self._replay.cut(self._environments.observations)
        least = self._config.learning_starts + (state["given"] - 1) * self._config.train_every
        if state["given"] and self._environments.frames * self._runtime.world < least:
            raise ValueError(f"{self._environments.frames} frames cannot have made {state['given']} batches")
        self._random, self._given = decode_generator(state["random"]), state["given"]
        self._pace.restart()

    def begin_again(self) -> None:
        """Begins a new episode, where somebody else has played in the environment."""
        self._environments.begin_again()
        self._replay.cut(self._environments.observations)

    def clock(self) -> dict[str, float]:
        """Frames of all environments and ranks."""
        return self._pace.clock()

    def figures(self) -> dict[str, float]:
        """Return and length of the latest episodes, and frames a second."""
        return self._environments.latest(self._runtime) | self._pace.figures()

    def names(self, step: int) -> list[str]:
        """The environment, for all transitions are one's own."""
        return [f"transitions of {self._environments.name}"]


class Explorer(Protocol):
    """A Task whose actions are real numbers within -1 and 1."""

    noises: tuple[str, ...]
    """Names of the standard normal numbers, float32 (B, actions) each, that a batch brings for it."""
    model: Any
    """Has an `encoder`, and a `head` of the space of actions."""

    def explore(self, observations: Observations, noise: Tensor) -> Tensor:
        """Raw observations (N, ...) and standard normal noise, float32 (N, actions), to actions of that shape."""
        ...


class Explored(OffPolicy):
    """Plays actions of real numbers: evenly drawn within their bounds before the first batch, then the task's own.

    A batch brings the noise that the task's loss takes, so that the loss is a function of the batch and the weights.
    """

    _task: Explorer

    @property
    def _head(self) -> Bounded:
        head: Bounded = self._task.model.head
        return head

    def _choose(self) -> tuple[Any, Any]:
        count = self._environments.count
        with torch.inference_mode():
            if self._given == 0:
                drawn = self._random.uniform(-1, 1, (count, *self._head.action_shape))
                actions = torch.from_numpy(drawn.astype(np.float32))
            else:
                noise = self._head.noise(self._random, count)
                seen = each(self._environments.observations, torch.from_numpy)
                actions = self._task.explore(*self._runtime.to_device((seen, noise)))
            return actions.cpu().numpy(), self._head.in_space(actions.to(self._head.low.device)).cpu().numpy()

    def _batch(self) -> dict[str, Any]:
        batch = self._replay.sample(self._random, self._config.batch_size)
        return batch | {name: self._head.noise(self._random, len(batch["action"])) for name in self._task.noises}
