"""Rollouts of a policy with a memory: sequences of an environment's frames, cut where an episode begins.

The memory is carried from one rollout to the next, and is zero where an episode begins. What it held before each frame
is kept as it was when that was played, and a rollout is learned from with it, without a gradient to the rollout before.
"""

from typing import Any

import torch
from torch import Tensor

from ptapp_core.runs.states import refuse_unlike
from ptapp_rl.envs.spaces import Observations, pick, rows_of
from ptapp_rl.experience.rollout import Batch, Rollouts
from ptapp_rl.models.recurrent import Recurrent


class Sequences(Rollouts):
    """As `Rollouts`, in minibatches of whole environments, each of whose transitions are in the order of time.

    A minibatch also has `begins` and `state`, as `Recurrent.both` takes them, and `environment`, int64 (n,).
    """

    _model: Recurrent

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        length, count, units = self._config.length, self._environments.count, self._model.units
        zeros = torch.zeros(count, 2, units), torch.zeros(length, count, 2, units), torch.zeros(length, count, units)
        self._state, self._states, self._recalled = self._runtime.to_device(zeros)

    def state_dict(self) -> dict[str, Any]:
        """As of any rollouts, with what the memory holds."""
        return super().state_dict() | {"memory": self._state.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues with the next minibatch; where environments had to be reset, with an empty memory."""
        refuse_unlike({"memory": state["memory"]}, {"memory": self._state.cpu()})
        if not state["memory"].isfinite().all():
            raise ValueError("what a memory holds must be finite")
        self._state.copy_(state["memory"])
        super().load_state_dict(state)

    def _forget(self) -> None:
        self._state.zero_()

    def _features(self, t: int, now: Observations) -> Tensor:
        self._states[t] = self._state
        self._recalled[t], after = self._model.step(now, self._state)
        after[torch.from_numpy(self._over[t])] = 0.0  # the next frame is the first of another episode
        self._state.copy_(after)
        return self._recalled[t]

    def _values(self) -> Tensor:
        last = self._runtime.to_device(pick(self._observations, self._config.length))
        recalled = torch.cat([self._recalled, self._model.step(last, self._state)[0][None]])
        return self._judge(self._model.worth, recalled.flatten(0, 1)).view(len(recalled), -1)

    def _rows(self) -> Tensor:
        count = self._environments.count
        environment, t = torch.from_numpy(~self._over[:-1].T).nonzero().unbind(1)
        return t * count + environment

    def _beside(self, rows: Tensor) -> Batch:
        count = self._environments.count
        begins = torch.from_numpy(self._over[:-1]).roll(1, 0)
        begins[0] = True  # of this rollout's part of the sequence
        return {
            "begins": self._runtime.to_device(begins).flatten()[rows],
            "state": self._states.flatten(0, 1)[rows],
            "environment": rows % count,
        }

    def _one_beside(self) -> dict[str, Tensor]:
        begins, environment = torch.zeros((), dtype=torch.bool), torch.zeros((), dtype=torch.int64)
        return {"begins": begins, "state": torch.zeros_like(self._state[0], device="cpu"), "environment": environment}

    def _shuffled(self, columns: Batch) -> int:
        return self._environments.count

    def _transitions(self, chosen: Tensor) -> Tensor:
        return torch.isin(self._columns["environment"], self._runtime.to_device(chosen)).nonzero().squeeze(1)

    def _parameters(self) -> Tensor:
        rows = map(self._transitions, torch.arange(self._environments.count).tensor_split(self._config.minibatches))
        parts = ({name: rows_of(column, some) for name, column in self._columns.items()} for some in rows)
        return torch.cat([self._model.both(part)[0] for part in parts])

    def _refuse_other_state(self, state: dict[str, Any]) -> None:
        super()._refuse_other_state(state)
        if not (columns := state["columns"]):
            return
        environment = columns["environment"]
        first = environment.diff(prepend=torch.tensor([-1])) != 0
        if not torch.equal(environment[first], torch.arange(self._environments.count)):
            raise ValueError("transitions must be those of one environment after the other")
        if not columns["begins"][first].all() or not columns["state"].isfinite().all():
            raise ValueError("each environment's transitions must begin with what the memory held")
