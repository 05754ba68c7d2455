"""A vector of environments that is stepped with one call, watched, and put back exactly.

Autoreset mode, named once for the whole package: NEXT_STEP. The step that ends an episode returns its last
observation; the step after it ignores the action and returns the first observation of the next episode. So row t+1 of
what an environment returned is always the true successor of row t, except where row t ended an episode: the
transition out of such a row is never learned from (`valid`). A time limit bootstraps from its last observation, which
needs no special case, and a termination does not bootstrap.
"""

import multiprocessing
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import isfinite
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector.async_vector_env import _async_worker

from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime, end_with_job, outlive_stop_request
from ptapp_core.runs.log import FRAMES
from ptapp_core.runs.states import refuse_unlike
from ptapp_rl.envs.capture import Resumable, Way, plain_state, restore_plain, way_of
from ptapp_rl.envs.forms import MASK, fault_of, forbidden, mask_of
from ptapp_rl.envs.interface import fault_in
from ptapp_rl.envs.names import has_own_vector, make, make_own_vector
from ptapp_rl.envs.spaces import Observations, each, observation_form, refuse_odd

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[Any]
_AUTORESET = gym.vector.AutoresetMode.NEXT_STEP
_PATIENCE = 60.0  # seconds for a worker to answer
_OWN_PAYS = 4  # fewer environments are played faster one by one than in a vector of arrays


class _Lent(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that another one owns and closes, with a time limit in place of none."""

    def __init__(self, env: gym.Env[Any, Any], limit: int | None) -> None:
        super().__init__(env if limit is None else gym.wrappers.TimeLimit(env, limit))

    def close(self) -> None:
        """Leaves the environment open, for its owner closes it."""


class _Workers(gym.vector.AsyncVectorEnv):
    """Raises the error of a worker without printing its traceback first: the job says it in a line."""

    def _raise_if_errors(self, successes: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super()._raise_if_errors(successes)


def _serve(*arguments: Any) -> None:
    """Gymnasium's worker, which ends without a word where the job was killed, and its pipe with it."""
    with suppress(BrokenPipeError, ConnectionResetError, EOFError):
        _async_worker(*arguments)


class Environments:
    """`count` environments of one name.

    Args:
        name: registered name.
        count: how many this rank plays.
        seed: the same for all of them; environment i plays episodes that (seed, first + i, episode) decide.
        first: how many environments other ranks have before these.
        vector: sync, async (a process each), or auto: the environment's own vector where that is faster, else sync.
        stack: frames an observation.
        limit: steps after which an episode is cut, in place of the environment's own time limit.
        trial: whether two more are played to see how their state can be saved; else it cannot.
        instance: the one environment to play in, whose owner closes it; none: they are made.
        masked: whether a mask of actions that the environment gives is one for the policy.
        say: takes a line for the user, where they cannot be put back after all.
    """

    def __init__(
        self,
        name: str,
        count: int,
        *,
        seed: int,
        first: int = 0,
        vector: str = "auto",
        stack: int = 1,
        limit: int | None = None,
        trial: bool = True,
        instance: gym.Env[Any, Any] | None = None,
        masked: bool = True,
        say: Callable[[str], None] = print,
    ) -> None:
        self.name, self.count, self._say = name, count, say
        self.frames = 0
        """Frames stepped, over all environments; a reset counts as one."""
        self.returns: deque[float] = deque(maxlen=100)
        """Undiscounted returns and lengths of the latest episodes that ended."""
        self.lengths: deque[int] = deque(maxlen=100)
        """The frames of these episodes."""
        self._running, self._elapsed = np.zeros(count), np.zeros(count, np.int64)
        self.raw_rewards: Floats = np.zeros(count)
        """Unscaled rewards of the latest step, (count,)."""
        self._signs = name.startswith("ALE/")  # what is learned from: Atari games score on very different scales
        own = vector == "auto" and limit is None and count >= _OWN_PAYS
        self._own = own and has_own_vector(name, stack, masked=masked)
        self._wait = vector == "async" and instance is None
        new = partial(make, name, stack=stack, limit=limit, masked=masked)
        make_one = new if instance is None else partial(_Lent, instance, limit)
        try:
            self._vector, self.way = self._make(seed, first, make_one, trial=trial)
        except Exception as error:  # whatever the user's code does
            raise self._complaint(error) from error
        self.observation_space, self.action_space = (
            self._vector.single_observation_space,
            self._vector.single_action_space,
        )
        self.form = observation_form(self.observation_space, name, self.action_space if masked else None)
        self._mask = mask_of(self.form)
        self._may_mask = masked and self._mask is None and isinstance(self.action_space, gym.spaces.Discrete)
        self._broken = False
        self._seed = (seed * 1_000_003 + first) % 2**31
        self.observations: Any = None
        self.over: Bools = np.zeros(count, dtype=np.bool_)
        """Environments whose episode has ended: their next step is the reset."""
        self._begin()

    def _make(
        self, seed: int, first: int, make_one: Callable[[], gym.Env[Any, Any]], *, trial: bool
    ) -> tuple[Any, Way]:
        if self._own:
            way = way_of(partial(make_own_vector, self.name, 2)) if trial else "reset"
            return make_own_vector(self.name, self.count), way
        way, home = way_of(make_one) if trial else "reset", os.getpid()

        def one(index: int) -> gym.Env[Any, Any]:
            if os.getpid() != home:  # this is a worker
                outlive_stop_request(index)
            return Resumable(make_one(), seed * 1_000_003 + first, index, way=way)

        makers = [partial(one, index) for index in range(self.count)]
        if self._wait:
            workers = _Workers(makers, autoreset_mode=_AUTORESET, worker=_serve)
            end_with_job(workers.processes)
            return workers, way
        return gym.vector.SyncVectorEnv(makers, copy=False, autoreset_mode=_AUTORESET), way

    def restart(self) -> None:
        """Begins the first episodes again, as new environments would; where `way` is reset they may differ."""
        if not self._own:
            self._vector.call("rewind")
        self.begin_again()

    @property
    def instance(self) -> gym.Env[Any, Any]:
        """The first environment itself, of those that are played in this process one by one.

        Raises UserError where they are played in a vector of their own.
        """
        if self._own:
            raise UserError(f"{self.name} is played in its own vector; give --vector sync")
        return self._vector.envs[0].env

    def begin_again(self) -> None:
        """Begins the next episodes, where somebody else has played in the instance."""
        self._running[:] = self._elapsed[:] = 0
        self.over = np.zeros_like(self.over)
        self._begin()

    def _begin(self) -> None:
        try:
            self.observations = self._vector.reset(seed=self._seed)[0]
        except Exception as error:
            raise self._complaint(error) from error
        self._check_observations(np.zeros_like(self.over))

    def _check_observations(self, terminated: Bools) -> None:
        if fault := fault_of(self.observations, self.form):
            raise UserError(f"environment {self.name}: {fault} (frame {self.frames:,})")
        if self._mask and (forbidden(self.observations, self._mask).all(1) & ~terminated).any():
            raise UserError(f"environment {self.name}: its {MASK} forbids every action (frame {self.frames:,})")

    def step(self, actions: npt.NDArray[Any]) -> tuple[Floats, Bools, Bools]:
        """Steps all environments; sets `observations` and `over`.

        Args:
            actions: (count, ...) of the dtype and shape of the space of actions.

        Returns:
            Rewards (float), whether an episode terminated, and whether a time limit cut it (bool), each (count,).
        """
        try:
            if self._wait:
                self._vector.step_async(actions)
                result = self._vector.step_wait(timeout=_PATIENCE)
            else:
                result = self._vector.step(actions)
        except Exception as error:
            self._broken = True
            raise self._complaint(error) from error
        self.observations, rewards, terminated, truncated, info = result
        self.frames += self.count
        if self._may_mask and MASK in info:
            raise UserError(
                f"environment {self.name}: info[{MASK!r}] comes with a step (frame {self.frames:,}), and not with the "
                "reset, which says whether there are masks: give it there too"
            )
        self.raw_rewards = rewards
        self._running += rewards
        self._elapsed += ~self.over  # a step after the end is the reset
        if not isfinite(self._running.sum()):
            raise UserError(f"environment {self.name}: a reward is not finite (frame {self.frames:,})")
        self._check_observations(terminated)
        self.over = terminated | truncated
        if self.over.any():
            for index in self.over.nonzero()[0]:
                self.returns.append(float(self._running[index]))
                self.lengths.append(int(self._elapsed[index]))
                self._running[index] = self._elapsed[index] = 0
        return (np.sign(rewards) if self._signs else rewards), terminated, truncated

    def latest(self, runtime: Runtime) -> dict[str, float]:
        """Mean return and length of the latest hundred episodes of each rank; empty before the first has ended."""
        found = runtime.gather((len(self.returns), sum(self.returns), sum(self.lengths)))
        count, returns, lengths = (sum(part) for part in zip(*found, strict=True))
        return {"return": returns / count, "length": lengths / count} if count else {}

    def state_dict(self) -> dict[str, Any]:
        """Plain data, the environments' own state among it."""
        states: Any = plain_state(self._vector) if self._own else list(self._vector.call("capture"))
        lost = states is None if self._own else self.way == "plain" and any(state["env"] is None for state in states)
        return {
            "own": self._own,
            "way": "reset" if lost else self.way,
            "states": states,
            "observations": each(self.observations, lambda value: torch.from_numpy(value.copy())),
            "over": torch.from_numpy(self.over.copy()),
            "elapsed": torch.from_numpy(self._elapsed.copy()),
            "lengths": list(self.lengths),
            "running": torch.from_numpy(self._running.copy()),
            "returns": list(self.returns),
            "frames": self.frames,
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Plays on where the state was taken; False where the environments had to be reset instead.

        Raises UserError where one of the two is the environment's own vector, and the other is not, and ValueError for
        what is no such state.
        """
        if self._own != state["own"]:
            kinds = ("single environments", "its own vector")
            raise UserError(
                f"--vector: {self.name} was played in {kinds[not self._own]}, and would now be in {kinds[self._own]}, "
                f"which is played otherwise; leave --vector out, or start a new run"
            )
        self._refuse_other_state(state)
        self.returns = deque(state["returns"], maxlen=100)
        self.lengths = deque(state["lengths"], maxlen=100)
        self.frames = state["frames"]
        way: Way = state["way"] if state["way"] == self.way else "reset"
        if way == "reset":
            if self.way != "reset":
                self._say(f"environment {self.name}: its state could not be saved, so that the environments are reset")
            if not self._own:
                self._vector.call("restore", state["states"], way)
                self.observations = self._vector.reset()[0]
            return False
        if self._own:
            restore_plain(self._vector, state["states"])
        else:
            came_to = self._vector.call("restore", state["states"], way)
            if way == "replay" and not _same(came_to, state["observations"]):
                self._say(f"environment {self.name}: its replayed episode differs, so that the environments are reset")
                self.observations = self._vector.reset()[0]
                return False
        self.observations = each(state["observations"], lambda value: value.numpy().copy())
        self.over = state["over"].numpy().copy()
        self._running, self._elapsed = (state[name].numpy().copy() for name in ("running", "elapsed"))
        return True

    def _refuse_other_state(self, state: dict[str, Any]) -> None:
        numbers = {"over": self.over, "elapsed": self._elapsed, "running": self._running}
        like: dict[str, Any] = {name: torch.from_numpy(array) for name, array in numbers.items()}
        like |= {"observations": each(self.observations, torch.from_numpy), "frames": 0, "own": False, "way": ""}
        like |= {name: [number] * len(state[name]) for name, number in (("returns", 0.0), ("lengths", 0))}
        refuse_unlike({name: state[name] for name in like}, like)
        refuse_odd(state["observations"], self.form)
        if not all(map(isfinite, state["returns"])):
            raise ValueError("returns of episodes must be finite")
        if not self._own and (type(state["states"]) is not list or len(state["states"]) != self.count):
            raise ValueError(f"there must be states of {self.count} environments")

    def close(self) -> None:
        """Ends the environments and their processes."""
        if self._wait and self._broken:
            for process in self._vector.processes:  # their pipes may be full or gone, and they put SIGTERM off
                process.kill()
            self._vector.closed = True
        else:
            self._vector.close()

    def _complaint(self, error: Exception) -> UserError:
        if isinstance(error, UserError):
            return error
        where = f"environment {self.name}"
        if isinstance(error, multiprocessing.TimeoutError):
            return UserError(f"{where}: a worker did not answer for {_PATIENCE:.0f} s (frame {self.frames:,})")
        if self._wait and isinstance(error, (EOFError, ConnectionError)):
            return UserError(f"{where}: a worker process died (frame {self.frames:,})")
        return UserError(f"{where}: {fault_in(error)} (frame {self.frames:,})")


class Pace:
    """How many frames all ranks have played, and how fast."""

    def __init__(self, environments: Environments, runtime: Runtime) -> None:
        self._environments, self._world = environments, runtime.world
        self._since, self._before = time.monotonic(), 0.0

    def clock(self) -> dict[str, float]:
        """The frames that all ranks have played so far."""
        return {FRAMES: self._environments.frames * self._world}

    def figures(self) -> dict[str, float]:
        """Frames a second since the last call, evaluations included."""
        now, frames = time.monotonic(), self.clock()[FRAMES]
        speed = (frames - self._before) / max(now - self._since, 1e-9)
        self._since, self._before = now, frames
        return {"frames/s": speed}

    def restart(self) -> None:
        """Counts from here: a job continues."""
        self._since, self._before = time.monotonic(), self.clock()[FRAMES]


def _same(found: Sequence[Any], expected: Observations) -> bool:
    """Whether the observations of single environments are those that the vector had of them."""
    if isinstance(expected, dict):
        return all(_same([one[name] for one in found], part) for name, part in expected.items())
    rows = expected.numpy()
    return all(np.array_equal(np.asarray(one, rows.dtype), row) for one, row in zip(found, rows, strict=True))
