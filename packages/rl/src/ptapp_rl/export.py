"""`ptapp rl export`: the policy as a file of its own, from raw observations to actions."""

from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.compress.benchmark import run_benchmark
from ptapp_core.compress.exports import write_exports
from ptapp_core.errors import UserError
from ptapp_core.export import Example, Inputs
from ptapp_core.jobs import Trained
from ptapp_core.measure.judge import OfActions
from ptapp_core.settings.after_training import BenchmarkSettings
from ptapp_rl.algos.build import build
from ptapp_rl.card import About
from ptapp_rl.config import ExportRL, TrainRL
from ptapp_rl.envs.forms import MASK, Action, Box
from ptapp_rl.envs.spaces import Observations, each, unscaled
from ptapp_rl.envs.vector import Environments
from ptapp_rl.evaluate import evaluation_environments, find, refuse_other_spaces

_SAMPLES = 16  # observations that an export is compared on
_MEASURED = 1_000  # observations that an int8 form is measured on
_NEAR = 0.01


def export(settings: ExportRL) -> None:
    """Writes `export/model.*` in the run directory, compared with the policy on observations that it met."""
    write_exports(example_of(*find(settings)), settings)


def benchmark(settings: BenchmarkSettings) -> None:
    """Times and measures the forms of a policy that are at hand; raises UserError for those of its training."""
    if settings.train:
        raise UserError("--train compares seconds an epoch, and an environment has no epochs: leave it out")
    run_benchmark(example_of(*find(settings)), settings)


def example_of(trained: Trained[About], job: TrainRL, name: str) -> Example:
    """A trained policy with observations that it met in the registered environment `name`."""
    card = trained.about.model
    model = trained.load(build)

    def played(count: int, seed: int) -> Observations:
        environments = evaluation_environments(job, name, 1, seed=seed, masked=card.masked)
        refuse_other_spaces(trained, name, environments)
        with closing(environments):
            return _played(model, environments, count)

    def split(of: str) -> Inputs:
        return _measured(f"{of} episodes", model, played(_MEASURED, seed=1 + ("train", "val").index(of)))

    samples = played(_SAMPLES, seed=0)
    latest = f", the latest {job.stack} of them, oldest first" if job.stack > 1 else ""
    about = {
        "domain": "rl",
        "input": f"{_form(samples)}: observations as {name} gives them{latest}",
        "output": "the policy's actions (likeliest, or of the mean), as the environment takes them",
        "inputs": _inputs(samples),
        "observation": card.observation.stored(),
        "action": card.action.stored(),
        "environment": name,
        "algorithm": card.algo,
        "checkpoint": trained.checkpoint.name,
    }
    if card.masked:
        about[MASK] = f"1 for each action that may be chosen, else 0, as {name} says in its observation or its info"
    return Example(
        model,
        samples,
        about,
        split=split,
        judge=lambda: OfActions(_near(card.action)),
        options={"tolerance": 1e-4 * _widest(card.action)},
    )


def _measured(split: str, model: nn.Module, observations: Observations) -> Inputs:
    """Observations as an export takes them; the targets are the actions of the policy."""
    parts = tuple(observations.values()) if isinstance(observations, dict) else (observations,)

    @torch.inference_mode()
    def batch(rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        chosen = tuple(part[rows] for part in parts)
        return chosen, model(each(observations, lambda part: part[rows]))

    return Inputs(split, len(parts[0]), batch)


def _near(action: Action) -> Tensor | None:
    """How far two actions of numbers may be apart and be one: a hundredth of the range; None of counted actions."""
    if not isinstance(action, Box):
        return None
    free = unscaled(action)
    spans = zip(action.low, action.high, strict=True)
    return torch.tensor([_NEAR * (2.0 if i in free else high - low) for i, (low, high) in enumerate(spans)])


def _inputs(observations: Observations) -> dict[str, Any]:
    """The name of each input with its dtype, and the shape of one observation in it."""
    parts = observations if isinstance(observations, dict) else {"input": observations}
    return {name: {"dtype": str(part.dtype)[6:], "shape": list(part.shape[1:])} for name, part in parts.items()}


def _form(observations: Observations) -> str:
    """Types and shapes, as `float32 (batch, 4)`; for a dictionary with the names before them."""
    if isinstance(observations, dict):
        return ", ".join(f"{name} {_form(part)}" for name, part in observations.items())
    shape = ", ".join(["batch", *map(str, observations.shape[1:])])
    return f"{str(observations.dtype)[6:]} ({shape})"


def _widest(action: Action) -> float:
    """What an action of 1 in the policy is in the environment, at most, for outputs are compared there."""
    if not isinstance(action, Box):
        return 1.0
    free = unscaled(action)
    bounds = enumerate(zip(action.low, action.high, strict=True))
    return max(1.0 if index in free else max((high - low) / 2, 1e-3) for index, (low, high) in bounds)


@torch.inference_mode()
def _played(model: nn.Module, environments: Environments, count: int) -> Observations:
    """Observations that the policy met, (N, ...), at least so many."""
    seen: list[Any] = []
    while len(seen) * environments.count < count:
        seen.append(each(environments.observations, lambda part: torch.from_numpy(part.copy())))
        environments.step(model(seen[-1]).numpy())
    if isinstance(seen[0], Tensor):
        return torch.cat(seen).clone()
    return {name: torch.cat([one[name] for one in seen]).clone() for name in seen[0]}
