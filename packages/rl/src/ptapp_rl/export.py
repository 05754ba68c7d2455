"""`ptapp rl export`: the policy as a file of its own, from raw observations to actions."""

from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.export import export as write
from ptapp_rl.algos.build import build
from ptapp_rl.config import ExportRL
from ptapp_rl.envs.forms import Action, Box
from ptapp_rl.envs.spaces import Observations, each, unscaled
from ptapp_rl.envs.vector import Environments
from ptapp_rl.evaluate import evaluation_environments, find, refuse_other_spaces

_SAMPLES = 16


def export(settings: ExportRL) -> None:
    """Writes `export/model.*` in the run directory, compared with the policy on observations that it met."""
    trained, job, name = find(settings)
    card = trained.about.model
    model = trained.load(build)
    environments = evaluation_environments(job, name, 1)
    refuse_other_spaces(trained, name, environments)
    samples = _played(model, environments)
    environments.close()
    latest = f", the latest {job.stack} of them, oldest first" if job.stack > 1 else ""
    about = {
        "domain": "rl",
        "input": f"{_form(samples)}: observations as {environments.name} gives them{latest}",
        "output": "the policy's likeliest actions, as the environment takes them",
        "inputs": _inputs(samples),
        "observation": card.observation.stored(),
        "action": card.action.stored(),
        "environment": environments.name,
        "algorithm": card.algo,
        "checkpoint": trained.checkpoint.name,
    }
    tolerance = 1e-4 * _widest(card.action)
    path, difference = write(
        model, samples, settings.run / "export", format=settings.format, about=about, tolerance=tolerance
    )
    print(f"{path}: {about['input']} -> {about['output']}")
    print(f"proven at batch 1, 2 and 7 on observations of the environment: greatest difference {difference:.2e}")


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
def _played(model: nn.Module, environments: Environments) -> Observations:
    """Observations that the policy met, (16, ...)."""
    seen: list[Any] = []
    while len(seen) < _SAMPLES:
        seen.append(each(environments.observations, lambda part: torch.from_numpy(part.copy())))
        environments.step(model(seen[-1]).numpy())
    if isinstance(seen[0], Tensor):
        return torch.cat(seen).clone()
    return {name: torch.cat([one[name] for one in seen]).clone() for name in seen[0]}
