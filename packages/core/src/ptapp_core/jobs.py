"""From the settings of a command to the engine's objects, and from a run directory back to a trained model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from torch import nn
from torch.optim import Optimizer

from ptapp_core.checkpoint import load_weights, steps_in, verify
from ptapp_core.config import JobSettings, TrainSettings
from ptapp_core.errors import UserError
from ptapp_core.optim import Schedule, build_optimizer, build_schedule
from ptapp_core.plan import Plan
from ptapp_core.run import Run, new_path, read_json
from ptapp_core.runtime import Runtime

S = TypeVar("S", bound=TrainSettings)


def runtime_of(settings: JobSettings) -> Runtime:
    """The device, precision and seeds that the settings ask for, of which this process is given what is global."""
    return Runtime(
        settings.device,
        settings.precision,
        seed=settings.seed,
        deterministic=settings.deterministic,
        threads=settings.threads,
    ).set_up_process()


def optimizer_of(settings: TrainSettings, model: nn.Module, head_prefix: str = "") -> Optimizer:
    """The optimizer of the settings over what they leave to train."""
    return build_optimizer(
        model,
        settings.optimizer,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        backbone_lr=settings.backbone_lr,
        head_prefix=head_prefix,
        freeze=settings.freeze,
    )


def schedule_of(settings: JobSettings, optimizer: Optimizer, plan: Plan) -> Schedule:
    """The schedule of the settings over the steps of the plan."""
    return build_schedule(
        optimizer,
        settings.schedule,
        steps=plan.steps,
        warmup=plan.warmup,
        milestones=[round(share * plan.steps) for share in settings.milestones],
        gamma=settings.lr_gamma,
        power=settings.power,
        mode="max" if plan.maximise else "min",
    )


def fit_batch_size(settings: S, usual: int, size: int) -> tuple[S, str]:
    """For fewer training samples than the usual batch, batches of a quarter of them, and a note that says so.

    The settings go into the run's record, so that it resumes with the same batches. A batch size that the user chose
    is left to the loader, which refuses one that is too large.
    """
    if settings.batch_size != usual or size >= usual:
        return settings, ""
    batch_size = max(size // 4, settings.accumulate * settings.nproc)
    note = f" (not the default {usual}: there are {size} training samples)"
    return settings.model_copy(update={"batch_size": batch_size}), note


def data_name(settings: TrainSettings, built_in: str) -> str:
    """A word for the run directory: the data's, and its fold."""
    name = Path(settings.data).expanduser().resolve().name if settings.data else built_in
    name = name.encode(errors="ignore").decode()  # a file's name need not be UTF-8
    name = name.split(".")[0].lower().replace(" ", "-") or "data"
    return name if settings.fold is None else f"{name}-fold{settings.fold}"


def run_of(settings: JobSettings, runtime: Runtime, job: str, data: str, about: Mapping[str, Any]) -> Run:
    """A new run directory named after the job and the data, or the one to resume.

    `about` is kept in `meta.json`, where `Trained` finds what it takes to build the model again.
    """
    # `auto` may be another precision on the machine that resumes the run
    settings = settings.with_full_paths().model_copy(update={"precision": runtime.precision})
    if settings.resume is not None:
        before = read_json(settings.resume / "meta.json").get("model")
        if before != json.loads(json.dumps(about["model"])):
            raise UserError(
                f"--resume {settings.resume}: the data gives another model now (its classes, size or names)"
            )
    path = settings.resume or new_path(settings.run_dir, job, settings.name or data, settings.seed, runtime)
    return Run(
        path,
        runtime,
        config=settings.to_toml(),
        about=about,
        resume=settings.resume is not None,
        keep=settings.keep,
        log_to=settings.log_to,
    )


M = TypeVar("M", bound=nn.Module)
Which = Literal["best", "last"]


@dataclass(frozen=True)
class Trained:
    """A run directory as evaluate, predict and export find it."""

    run: Path
    about: dict[str, Any]
    """What the run's `meta.json` tells."""
    checkpoint: Path

    @classmethod
    def find(cls, run: Path, domain: str, which: Which = "best") -> Self:
        """The best checkpoint of a run (the last where none is marked best); raises UserError where there is none."""
        if not (run / "meta.json").is_file():
            raise UserError(f"{run}: not a run directory (it has no meta.json)")
        about = read_json(run / "meta.json")
        if about.get("domain") != domain:
            raise UserError(f"{run}: a run of `ptapp {about.get('domain')}`, not of `ptapp {domain}`")
        if "model" not in about:
            raise UserError(f"{run / 'meta.json'}: does not describe the model; the file was changed")
        folder = run / "checkpoints"
        steps = steps_in(folder)
        best = (folder / "best").resolve()
        checkpoint = best if which == "best" and best.exists() else steps[-1] if steps else None
        if checkpoint is None:
            raise UserError(f"{run}: no checkpoint yet")
        if problem := verify(checkpoint):
            raise UserError(f"{problem}; try --checkpoint {'last' if which == 'best' else 'best'}")
        return cls(run, about, checkpoint)

    def load(self, model: M) -> M:
        """The trained weights into a model built as the run built it; in eval mode."""
        load_weights(model, self.checkpoint / "model.safetensors")
        return model.eval()
