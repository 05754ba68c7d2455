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
from ptapp_rl.envs.forms import MASK, NEXT, STATE, Action, Box
from ptapp_rl.envs.spaces import Observations, each, unscaled
from ptapp_rl.envs.vector import Environments
from ptapp_rl.evaluate import evaluation_environments, find, policy_of, refuse_other_spaces
from ptapp_rl.models.recurrent import Recurrent, Remembering

_SAMPLES = 16  # observations that an export is compared on
_MEASURED = 1_000  # observations that an int8 form is measured on
_NEAR = 0.01


def export(settings: ExportRL) -> None:
    """Writes `export/model.*` in the run directory, compared with the policy on observations that it met."""
    trained, job, name = find(settings)
    recurrent = trained.about.model.lstm is not None
    lossy = [option for option in ("quantize", "precision") if getattr(settings, option) not in ("none", "fp32")]
    if lossy and recurrent:
        raise UserError(
            f"--{lossy[0]}: {settings.run} has a memory (--lstm), in which the errors of such a form add up over an "
            "episode: leave it out"
        )
    write_exports(example_of(trained, job, name), settings)


def benchmark(settings: BenchmarkSettings) -> None:
    """Times and measures the forms of a policy that are at hand; raises UserError for those of its training."""
    if settings.train:
        raise UserError("--train compares seconds an epoch, and an environment has no epochs: leave it out")
    trained, job, name = find(settings)
    if trained.about.model.lstm is not None:
        raise UserError(f"benchmark: {settings.run} has a memory (--lstm), and such policies are not timed")
    run_benchmark(example_of(trained, job, name), settings)


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
    options: dict[str, Any] = {"tolerance": 1e-4 * _widest(card.action)}
    if isinstance(model, Recurrent):
        about[STATE] = f"zeros where an episode begins, else {NEXT} of the step before, the second output"
        options["outputs"] = ("output", NEXT)
        model = _Step(model, keyed=card.observation.kind == "dict")
    if card.masked:
        about[MASK] = f"1 for each action that may be chosen, else 0, as {name} says in its observation or its info"
    return Example(
        model,
        samples,
        about,
        split=split,
        judge=lambda: OfActions(_near(card.action)),
        options=options,
    )


class _Step(nn.Module):
    """A step of a policy with a memory, whose observation and state are in one dictionary.

    An observation that is a dictionary itself is `keyed`; any other is its part `input`.
    """

    def __init__(self, policy: Recurrent, *, keyed: bool) -> None:
        super().__init__()
        self.policy, self._keyed = policy, keyed

    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Parts (N, ...) with states, float32 (N, 2, units), to actions, (N, ...), and the next states."""
        seen = {name: part for name, part in given.items() if name != STATE}
        return self.policy(seen if self._keyed else seen["input"], given[STATE])


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
    """Observations that the policy met, (N, ...), at least so many; with a memory also the states that it had."""
    seen: list[Any] = []
    policy = policy_of(model, stochastic=False, seed=0)
    while len(seen) * environments.count < count:
        shown = each(environments.observations, lambda part: torch.from_numpy(part.copy()))
        seen.append(shown)
        if isinstance(policy, Remembering):
            parts = shown if isinstance(shown, dict) else {"input": shown}
            seen[-1] = {**parts, STATE: policy.state_for(shown).clone()}
        ended = environments.over
        environments.step(policy(shown).numpy())
        if isinstance(policy, Remembering):
            policy.forget(ended)
    if isinstance(seen[0], Tensor):
        return torch.cat(seen).clone()
    return {name: torch.cat([one[name] for one in seen]).clone() for name in seen[0]}
