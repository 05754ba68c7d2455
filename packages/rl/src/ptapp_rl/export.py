"""`ptapp rl export`: the policy as a file of its own, from raw observations to actions."""

import torch
from torch import Tensor, nn

from ptapp_core.errors import UserError
from ptapp_core.export import export as write
from ptapp_core.jobs import Trained
from ptapp_rl.algos import build
from ptapp_rl.config import ExportRL, TrainRL
from ptapp_rl.envs import resolve
from ptapp_rl.evaluate import evaluation_environments
from ptapp_rl.vector import Environments

_SAMPLES = 16


def export(settings: ExportRL) -> None:
    """Writes `export/model.*` in the run directory, compared with the policy on observations that it met."""
    trained = Trained.find(settings.run, "rl", settings.checkpoint)
    card = trained.about["model"]
    if card["observation"]["kind"] == "dict":
        raise UserError("export takes policies of one input; this one's observations are a dictionary")
    model = trained.load(build(card))
    job = TrainRL.resolve(settings.run / "config.toml", {})
    environments = evaluation_environments(job, resolve(job.env), 1)
    samples = _played(model, environments)
    environments.close()
    shape = ", ".join(["batch", *map(str, samples.shape[1:])])
    about = {
        "input": f"{str(samples.dtype)[6:]} ({shape}), observations as {environments.name} gives them",
        "output": "the policy's actions, as the environment takes them",
        "action": card["action"],
        "environment": environments.name,
        "algorithm": card["algo"],
        "checkpoint": trained.checkpoint.name,
    }
    path, difference = write(model, samples, settings.run / "export", settings.format, about)
    print(f"{path}: {about['input']} -> {about['output']}")
    print(f"proven at batch 1, 2 and 7 on observations of the game: greatest difference {difference:.2e}")


@torch.inference_mode()
def _played(model: nn.Module, environments: Environments) -> Tensor:
    seen: list[Tensor] = []
    while len(seen) < _SAMPLES:
        seen.append(torch.from_numpy(environments.observations.copy()))
        environments.step(model(seen[-1]).numpy())
    return torch.cat(seen).clone()
