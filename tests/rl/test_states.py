"""Whatever stands in the state of a game's algorithm, a job continues from it or refuses it in one line."""

from contextlib import suppress
from copy import deepcopy
from itertools import islice
from math import inf, isfinite, nan
from typing import Any

import pytest
import torch

from leaves import ODD, other_tensors, spoiled, without_one
from ptapp_core.errors import UserError
from ptapp_core.loop.update import NotFinite, Update
from ptapp_core.task import Progress
from rl.lessons import RUNTIME, learner

pytestmark = pytest.mark.slow

JOBS: dict[str, dict[str, Any]] = {
    "ppo": {"env": "CartPole-v1", "normalise": True, "normalise_rewards": True},
    "a2c": {"env": "IdentityContinuous-v0", "algo": "a2c", "envs": 2, "rollout": 32, "normalise": True},
    "ppo of a dictionary": {"env": "IdentityDict-v0", "envs": 2, "rollout": 32, "normalise": True},
    "memory": {"env": "IdentityDict-v0", "envs": 2, "lstm": 4, "batch_size": 16, "normalise": True},
    "reinforce": {"env": "Opaque-v0", "algo": "reinforce", "envs": 2, "rollout": 32},
    "dqn": {"env": "Opaque-v0", "algo": "dqn", "envs": 2, "buffer": 90},
    "sac": {"env": "IdentityContinuous-v0", "algo": "sac", "envs": 2, "buffer": 90, "normalise": True},
    "td3": {"env": "IdentityContinuous-v0", "algo": "td3", "envs": 2, "buffer": 90, "stack": 2},
    "prioritised": {"env": "IdentityDict-v0", "algo": "dqn", "envs": 2, "stack": 2, "normalise": True}
    | {"prioritised": True, "dueling": True, "noisy": True, "atoms": 5, "n_step": 3, "buffer": 90, "target_every": 2},
}


class Job:
    """A job that stands after three steps, and can continue from any state of its source."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._begin()
        self._learn(3)
        self.state = deepcopy(self.source.state_dict())
        self.weights = deepcopy(self.task.state_dict())

    def goes_on(self, state: Any) -> bool:
        """Whether the state is taken; what follows is a finite job, or ends as one line would tell."""
        try:
            self.source.load_state_dict(deepcopy(self.state))
        except Exception:  # the state before was refused when some of it was taken, which ends a job
            self._begin()
        self.task.load_state_dict(self.weights)
        try:
            self.source.load_state_dict(deepcopy(state))
        except Exception:  # which whoever restores a checkpoint tells in one line
            return False
        with suppress(UserError):
            self._learn(5)
            self.source.state_dict()
        return True

    def _begin(self) -> None:
        self.model, self.task, self.source, _ = learner(**JOBS[self.name], frames=2048)

    def _learn(self, steps: int) -> None:
        update, progress = Update(torch.optim.Adam(self.model.parameters(), 1e-3), RUNTIME), Progress()
        for batch in islice(self.source, steps):
            loss, units, _ = self.task(batch)
            loss.backward()
            update.step(loss.detach(), 1 / max(units, 1))
            progress.step += 1
            self.task.after_step(progress)
        assert progress.step
        with suppress(NotFinite):  # a line as well
            update.check()
            assert loss.isfinite()
            assert all(isfinite(value) for value in (self.source.figures() | self.source.clock()).values())
        assert all(bool(parameter.isfinite().all()) for parameter in self.model.parameters())


def look(job: Job, changed: Any) -> int:
    """How many of the changed states are refused; the place of one that makes trouble is in the error."""
    refused = 0
    for place, state in changed:
        try:
            refused += not job.goes_on(state)
        except Exception as error:
            raise AssertionError(f"{place}: {error}") from error
    assert job.goes_on(job.state)
    return refused


@pytest.mark.parametrize("name", JOBS)
def test_a_job_goes_on_from_spoiled_states_or_refuses_them_in_one_line(name: str) -> None:
    job = Job(name)
    for number, odd in enumerate([*ODD, inf]):  # each value in every fourth place, beginning with another one
        assert look(job, islice(spoiled(job.state, odd), number % 4, None, 4)) > 3


@pytest.mark.parametrize("name", JOBS)
def test_a_state_that_lacks_something_is_refused_or_gone_on_from(name: str) -> None:
    job = Job(name)
    assert look(job, without_one(job.state)) > 15


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("value", [nan, inf, -1])
def test_tensors_of_the_right_form_and_wrong_values_are_refused_or_gone_on_from(name: str, value: float) -> None:
    job = Job(name)

    def other(tensor: torch.Tensor) -> torch.Tensor:
        greatest = 1 if tensor.dtype == torch.bool or tensor.is_floating_point() else torch.iinfo(tensor.dtype).max
        return torch.full_like(tensor, value if tensor.is_floating_point() or isfinite(value) else greatest)

    look(job, other_tensors(job.state, other))


@pytest.mark.parametrize("name", JOBS)
def test_tensors_of_another_type_are_refused_or_gone_on_from(name: str) -> None:
    job = Job(name)
    other = {torch.float32: torch.float64, torch.int64: torch.int32}
    look(job, other_tensors(job.state, lambda tensor: tensor.to(other.get(tensor.dtype, torch.float16))))
