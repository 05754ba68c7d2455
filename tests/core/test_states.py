"""Whatever stands in a checkpoint's states, a job continues from them or refuses them in one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from leaves import ODD, spoiled_checkpoints
from ptapp_core.data.loader import Loader
from ptapp_core.errors import UserError
from ptapp_core.fit import fit
from ptapp_core.kinds.kind import Supervised
from ptapp_core.loop.optim import OPTIMIZERS, build_optimizer, build_schedule
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_core.runs.states import refuse_other_optimizer

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking it for the commit takes half of the time of such a short job."""
    monkeypatch.setattr("ptapp_core.runs.run._git_commit", lambda: None)


def learn(folder: Path, optimizer_name: str, schedule: str, steps: int) -> None:
    runtime = Runtime("cpu", "fp32")
    torch.manual_seed(0)
    data = {"input": torch.randn(16, 4), "target": torch.arange(16) % 2}
    task = Supervised(nn.Linear(4, 2), CrossEntropy())
    loader, optimizer = Loader(data, 4, runtime), build_optimizer(task.model, optimizer_name, lr=0.1)
    plan = Plan(steps, log_every=2, eval_every=2, save_every=3, average="ema", average_decay=0.5, schedule_steps=6)
    rates = build_schedule(optimizer, schedule, steps=6, warmup=1)
    with Run(folder, runtime, resume=folder.exists()) as run:
        fit(
            plan,
            runtime,
            run,
            task=task,
            source=loader,
            optimizer=optimizer,
            schedule=rates,
            evaluate=lambda model: {"loss": 1.0},
        )


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: str(getattr(odd, "shape", odd))[:20])
@pytest.mark.parametrize(("optimizer", "schedule"), [("adamw", "plateau"), ("sgd", "cosine"), ("rmsprop", "constant")])
def test_a_job_goes_on_from_spoiled_states_or_refuses_them_in_one_line(
    optimizer: str, schedule: str, odd: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    learn(run, optimizer, schedule, 3)
    (checkpoint,) = (run / "checkpoints").glob("step-00000003")
    refused = 0
    for place in spoiled_checkpoints(checkpoint, odd):
        try:
            learn(run, optimizer, schedule, 5)
        except UserError as error:
            refused += 1
            if "\n" in str(error):
                raise AssertionError(f"{place}: {error}") from error
        except Exception as error:
            raise AssertionError(f"{place} = {odd!r}") from error
    assert refused > 20


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_takes_back_its_own_state_and_none_of_other_shapes(name: str) -> None:
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, name, lr=0.1)
    for _ in range(2):
        model(torch.randn(4, 3)).sum().backward()
        optimizer.step()
        refuse_other_optimizer(optimizer.state_dict(), optimizer)
    state = optimizer.state_dict()
    moments = [key for key, value in state["state"][0].items() if value.shape == (2, 3)]
    assert moments
    for key in moments:
        for other in (torch.zeros(3), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(1).expand(2, 3), None):
            changed = {0: {**state["state"][0], key: other}, 1: state["state"][1]}
            with pytest.raises(ValueError, match=f"state.0.{key}"):
                refuse_other_optimizer({**state, "state": changed}, optimizer)
        missing = {1: state["state"][1], 0: {n: value for n, value in state["state"][0].items() if n != key}}
        with pytest.raises(ValueError, match=r"state\.0"):
            refuse_other_optimizer({**state, "state": missing}, optimizer)
