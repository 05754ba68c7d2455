"""A replay buffer: a ring of rows, one for each step of the vector of environments.

Each observation is stored once, in the type that the environment gives (uint8 for images), and of a stack of frames
only the newest: the successor of row t is row t + 1, and earlier frames are in the rows before. That holds because
environments reset on the step after an episode's end (see `vector`), so a last observation has a row of its own.
"""

from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ptapp_core.errors import UserError
from ptapp_core.machine.memory import free_memory
from ptapp_core.runs.states import refuse_unlike
from ptapp_rl.envs.spaces import Observations, each, empty, parts_of, store
from ptapp_rl.experience.hindsight import ACHIEVED, Goals
from ptapp_rl.experience.returns import n_step as summed_rewards
from ptapp_rl.experience.sumtree import SumTree

Index = npt.NDArray[np.int64]
_LOOK = 64  # steps ahead that are looked at together for the end of an episode


class Replay:
    """Transitions of `count` environments, the latest `frames` of them.

    Args:
        example: observations as the vector returns them, (count, ...).
        n_step: rewards before the bootstrap.
        gamma: discount of a frame.
        stack: frames of an observation, its first axis.
        priority: alpha of prioritised sampling (Schaul et al. 2016); None draws uniformly.
        numbers: how many real numbers, within -1 and 1, an action is; None: a whole number from 0.
        goals: gives some of a batch the goals that were reached later; for one-step rewards and no stack.
    """

    def __init__(
        self,
        example: Any,
        frames: int,
        *,
        n_step: int,
        gamma: float,
        stack: int = 1,
        priority: float | None = None,
        numbers: int | None = None,
        goals: Goals | None = None,
    ) -> None:
        first = example if not isinstance(example, dict) else next(iter(example.values()))
        self.count, self.rows = len(first), frames // len(first) + 1
        self._n, self.gamma, self._stack, self._goals = n_step, gamma, stack, goals
        newest = each(example, lambda part: part[:, -1]) if stack > 1 else example
        self._observations: Observations = empty(newest, self.rows, self.count)
        shape = (self.rows, self.count)
        self._actions: npt.NDArray[Any] = np.zeros(shape, dtype=np.int64)
        if numbers is not None:
            self._actions = np.zeros((*shape, numbers), dtype=np.float32)
        self._rewards = np.zeros(shape, dtype=np.float32)
        self._terminated = np.zeros(shape, dtype=np.bool_)
        self._over = np.zeros(shape, dtype=np.bool_)
        self._unusable = np.zeros(shape, dtype=np.bool_)  # the transition out of this row is a reset
        self._age = np.zeros(shape, dtype=np.int64)  # frames of the episode before this one, at most stack - 1
        self._tree = SumTree(self.rows * self.count) if priority is not None else None
        self._alpha, self._greatest = priority or 0.0, 1.0
        self._now, self.size = 0, 0

    def begin(self, observations: Any) -> None:
        """The observations before the first step."""
        self._put(observations)

    def add(self, actions: Any, rewards: Any, terminated: Any, *, over: Any, reset: Any, following: Any) -> None:
        """Stores one step of all environments from the latest observations; `reset` marks those that were reset.

        Args:
            actions: int64 (count,), or float32 (count, numbers).
            rewards, terminated, over, reset: (count,) each, float32 and three times bool.
            following: observations after the step, (count, ...).
        """
        now = self._now
        self._actions[now], self._rewards[now] = actions, rewards
        self._terminated[now], self._over[now], self._unusable[now] = terminated, over, reset
        self._now = now + 1 if now + 1 < self.rows else 0
        self.size = min(self.size + 1, self.rows - 1)
        if self._stack > 1:
            self._age[self._now] = np.where(reset, 0, np.minimum(self._age[now] + 1, self._stack - 1))
        self._put(following)
        if self._tree:
            self._admit()

    def sample(self, random: np.random.Generator, batch_size: int, beta: float = 1.0) -> dict[str, Any]:
        """A batch: observation, action, reward (of n steps), factor (of the value that follows), following.

        Prioritised, also `weight`, the importance weights (at most 1), and `index`, for `update`.
        """
        index, more = self._draw(random, batch_size, beta)
        rows, columns = np.divmod(index, self.count)
        if self._n == 1:
            reward = self._rewards.reshape(-1)[index]
            factor = np.where(self._terminated.reshape(-1)[index], np.float32(0), np.float32(self.gamma))
            after: Index = (rows + 1) % self.rows
            summed = {"reward": torch.from_numpy(reward), "factor": torch.from_numpy(factor)}
        else:
            span = (rows + np.arange(self._n)[:, None]) % self.rows
            parts = (self._rewards, self._terminated, self._over)
            rewards, ended, over = (torch.from_numpy(part[span, columns]) for part in parts)
            total, factors, steps = summed_rewards(rewards, ended, over, gamma=self.gamma)
            after = (rows + steps.numpy()) % self.rows
            summed = {"reward": total, "factor": factors}
        batch = {
            "observation": self._observed(rows, columns),
            "action": torch.from_numpy(self._actions.reshape(-1, *self._actions.shape[2:])[index]),
            **summed,
            "following": self._observed(after, columns),
            **more,
        }
        if self._goals is not None:
            chosen = np.flatnonzero(random.random(batch_size) < self._goals.share)
            later = rows[chosen] + 1 + random.integers(0, self._left(rows[chosen], columns[chosen]) + 1)
            reached = self._observed(later % self.rows, columns[chosen])
            self._goals.relabel(batch, chosen, reached[ACHIEVED])
        return batch

    def _left(self, rows: Index, columns: Index) -> Index:
        """How many steps follow these within their episodes, as far as these were played, int64 (n,)."""
        played = (self._now - 1 - rows) % self.rows
        left, open_ = np.zeros_like(rows), np.arange(len(rows))
        ahead = np.arange(_LOOK)[:, None]
        while len(open_):
            steps = left[open_] + ahead
            ends = self._over[(rows[open_] + steps) % self.rows, columns[open_]] | (steps >= played[open_])
            found = ends.any(0)
            left[open_] += np.where(found, ends.argmax(0), _LOOK)
            open_ = open_[~found]
        return left

    def rewards(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """The rewards of all transitions so far, and whether an episode terminated with them; flat."""
        filled = slice(None) if self.size == self.rows - 1 else slice(self._now)
        return self._rewards[filled].ravel(), self._terminated[filled].ravel()

    def update(self, index: Index, errors: npt.NDArray[Any]) -> None:
        """New priorities of the transitions of a batch, from their absolute errors."""
        assert self._tree is not None
        priorities = np.abs(errors) + 1e-6
        self._greatest = max(self._greatest, float(priorities.max()))
        # a row that was overwritten since has no priority, and gets none
        alive = self._tree.leaves(index) > 0
        self._tree.set(index[alive], priorities[alive].astype(np.float64) ** self._alpha)

    def cut(self, observations: Any) -> None:
        """The environments were reset from outside, to these observations: as where a time limit came.

        The latest rewards of several steps then end at the last observation before, and bootstrap from it.
        """
        self._over[self._now - 1] = True
        nothing, everyone = np.zeros(self.count), np.ones(self.count, dtype=np.bool_)
        still = np.zeros_like(self._actions[0])
        self.add(still, nothing, nothing, over=nothing, reset=everyone, following=observations)

    def _put(self, observations: Any) -> None:
        newest = each(observations, lambda part: part[:, -1]) if self._stack > 1 else observations
        store(self._observations, self._now, newest)

    def _admit(self) -> None:
        """The row that can be drawn from now on gets the greatest priority, the one that cannot any more none."""
        if self.size >= self._n:
            row = (self._now - self._n) % self.rows
            self._set_row(row, self._greatest**self._alpha)
        self._set_row((self._now + self._stack - 1) % self.rows, 0.0)

    def _set_row(self, row: int, priority: float) -> None:
        assert self._tree is not None
        leaves = row % self.rows * self.count + np.arange(self.count)
        self._tree.set(leaves, np.where(self._unusable[row], 0.0, priority))

    def _draw(self, random: np.random.Generator, size: int, beta: float) -> tuple[Index, dict[str, Any]]:
        if self._tree:
            index, share = self._tree.sample(random.random(size))
            weight = (share * self._tree.positive) ** -beta
            return index, {"weight": torch.from_numpy((weight / weight.max()).astype(np.float32)), "index": index}
        youngest = self.size - self._n + 1
        oldest = self._stack - 1 if self.size == self.rows - 1 else 0  # what came before these is overwritten
        first = (self._now - self.size) * self.count
        slots = self.rows * self.count
        index = (first + random.integers(oldest * self.count, youngest * self.count, size)) % slots
        unusable = self._unusable.reshape(-1)
        while (wrong := unusable[index]).any():
            again = random.integers(oldest * self.count, youngest * self.count, int(wrong.sum()))
            index[wrong] = (first + again) % slots
        return index, {}

    def _observed(self, rows: Index, columns: Index) -> Any:
        if self._stack == 1:
            index = torch.from_numpy(rows * self.count + columns)
            return each(self._observations, lambda part: part.flatten(0, 1).index_select(0, index))
        back = np.minimum(np.arange(self._stack - 1, -1, -1), self._age[rows, columns][:, None])
        index = torch.from_numpy((rows[:, None] - back) % self.rows * self.count + columns[:, None])
        return each(self._observations, lambda part: part.flatten(0, 1)[index])

    def state_dict(self) -> dict[str, Any]:
        """The rows that are filled, which are views to be written before the next step, and the priorities."""
        filled = self.rows if self.size == self.rows - 1 else self._now + 1
        arrays = {name: torch.from_numpy(array[:filled]) for name, array in self._arrays().items()}
        # a slice by NumPy: one of a tensor would be saved with all of that tensor
        kept = each(self._observations, lambda part: torch.from_numpy(part.numpy()[:filled]))
        tree = {"leaves": torch.from_numpy(self._tree.all_leaves()), "greatest": self._greatest} if self._tree else None
        return {"observations": kept, "arrays": arrays, "tree": tree, "now": self._now, "size": self.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the buffer in place."""
        filled = state["arrays"]["actions"]
        if filled.shape[1] != self.count or len(filled) > self.rows:
            raise ValueError("the replay buffer had another size")
        self._refuse_other_state(state, len(filled))
        for name, array in self._arrays().items():
            array[: len(filled)] = state["arrays"][name].numpy()
        stored = state["observations"]
        for mine, saved in zip(parts_of(self._observations), parts_of(stored), strict=True):
            mine[: len(filled)] = saved
        self._now, self.size = state["now"], state["size"]
        if self._tree:
            self._tree.set_all(state["tree"]["leaves"].numpy())
            self._greatest = state["tree"]["greatest"]

    def _refuse_other_state(self, state: dict[str, Any], filled: int) -> None:
        """Raises ValueError for what is no state of such a buffer, of which so many rows are filled."""
        arrays = {name: torch.from_numpy(array[:filled]) for name, array in self._arrays().items()}
        like: dict[str, Any] = {"observations": each(self._observations, lambda part: part[:filled]), "arrays": arrays}
        tree = {"leaves": torch.from_numpy(self._tree.all_leaves()), "greatest": 0.0} if self._tree else None
        refuse_unlike(state, {**like, "tree": tree, "now": 0, "size": 0})
        now, size = state["now"], state["size"]
        whole = size == self.rows - 1 and filled == self.rows and now < filled
        if not whole and not filled - 1 == now == size:
            raise ValueError(f"{filled} rows cannot hold {size} steps up to row {now}")
        actions, age = state["arrays"]["actions"], state["arrays"]["age"]
        if actions.is_floating_point():
            if not (actions.abs() <= 1).all():
                raise ValueError("actions must be within -1 and 1")
        elif actions.lt(0).any():
            raise ValueError("actions must be from 0 on")
        if not ((age >= 0) & (age < self._stack)).all():
            raise ValueError("ages of frames must be from 0 on")
        if not state["arrays"]["rewards"].isfinite().all():
            raise ValueError("rewards must be finite")
        if self._tree:
            leaves = state["tree"]["leaves"]
            if not (torch.isfinite(leaves).all() and leaves.ge(0).all() and 0 < state["tree"]["greatest"] < inf):
                raise ValueError("priorities must be finite numbers from 0 on")

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "actions": self._actions,
            "rewards": self._rewards,
            "terminated": self._terminated,
            "over": self._over,
            "unusable": self._unusable,
            "age": self._age,
        }


def bytes_needed(example: Any, frames: int, stack: int = 1, *, numbers: int | None = None) -> int:
    """The bytes that a buffer of so many frames takes; the arguments are those of `Replay`."""
    parts = example.values() if isinstance(example, dict) else [example]
    observation = sum(part[0].nbytes for part in parts) // stack
    action = 8 if numbers is None else 4 * numbers
    return int(frames * (observation + action + 4 + 1 + 1 + 1 + 8))


def check_memory(needed: int) -> str:
    """`1,200.0 MB, twice that while it is saved, of 14.1 GB free`; raises UserError where it does not fit."""
    free = free_memory()
    if 2 * needed > 0.9 * free:  # a checkpoint is put together in memory
        raise UserError(
            f"--buffer: the replay buffer would take {needed / 1e9:.1f} GB, twice that while it is saved, and "
            f"{free / 1e9:.1f} GB are free; give --buffer a smaller number"
        )
    return f"{needed / 1e6:,.1f} MB, twice that while it is saved, of {free / 1e9:.1f} GB free"
