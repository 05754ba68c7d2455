"""From the settings of a command to the engine's objects, and from a run directory back to a trained model."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from ptapp_core.data.members import FILE as SAMPLES
from ptapp_core.data.members import Members
from ptapp_core.data.split import SPLITS, Division
from ptapp_core.errors import UserError, counted, one_line
from ptapp_core.loop.optim import Schedule, build_optimizer, build_schedule
from ptapp_core.machine.memory import within_memory
from ptapp_core.machine.reach import versions
from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.torch_private import BatchNorm
from ptapp_core.nn.rounding import begin_rounding
from ptapp_core.plan import Plan
from ptapp_core.runs.checkpoint import card_digest, load_weights, manifest_of, steps_in, verify
from ptapp_core.runs.formats import refuse_other_format
from ptapp_core.runs.run import Run, new_path, read_json, write_text
from ptapp_core.runs.typed import Meta, checked
from ptapp_core.settings.fields import flag
from ptapp_core.settings.own import code_of, is_own, refuse_code_of, short_name
from ptapp_core.settings.ranks import machines
from ptapp_core.settings.toml import toml_value
from ptapp_core.settings.train import JobSettings, TrainSettings

S = TypeVar("S", bound=TrainSettings)


def runtime_of(settings: JobSettings) -> Runtime:
    """The device, precision and seeds that the settings ask for, of which this process is given what is global.

    Raises UserError where the ranks do not continue the same run, or differ in their settings, versions or code.
    """
    runtime = Runtime(
        settings.device,
        settings.precision,
        seed=settings.seed,
        deterministic=settings.deterministic,
        threads=settings.threads,
        sharded=isinstance(settings, TrainSettings) and settings.parallel != "ddp",
        shard_ranks=_shard_ranks(settings),
        tensor_ranks=settings.tensor if isinstance(settings, TrainSettings) else 1,
        timeout=settings.timeout,
    ).set_up_process()
    if len(set(runtime.gather(str(settings.resume)))) > 1:
        raise UserError("--resume auto: the ranks see different runs: --run-dir must be a disk that all machines share")
    runtime.refuse_unequal(_facts(settings, runtime), "start the same command, with the same code, on all machines")
    least, most = machines(settings.nnodes)
    # Of several machines one may be left for a while, which torchrun starts again then.
    left = least < most or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    if _shard_ranks(settings) == runtime.world and not left:
        raise UserError(
            f"--parallel hsdp: all {runtime.world} ranks share one copy of the weights: give a smaller --shard-ranks "
            f"that divides {runtime.world}, or --parallel fsdp"
        )
    return runtime


def _shard_ranks(settings: JobSettings) -> int | None:
    """The ranks that share a copy of the weights with `--parallel hsdp`; None for any other job."""
    if not isinstance(settings, TrainSettings) or settings.parallel != "hsdp":
        return None
    return settings.shard_ranks or int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _facts(settings: JobSettings, runtime: Runtime) -> dict[str, str]:
    """What the ranks of a job must have in common before they read its data, by what a message calls it."""
    files = {name: [file for file in code_of(code) if file.is_file()] for name, code in settings.own_code().items()}
    code = {name: sha256(b"".join(file.read_bytes() for file in found)) for name, found in files.items()}
    names = (*settings.lengths, "parallel", "tensor")
    beside = {name: toml_value(getattr(settings, name)) for name in names if hasattr(settings, name)}
    given = {**settings.kept(), **beside, "precision": runtime.precision}
    return {
        **versions(),
        "the type of the device": runtime.device.type,
        "the number of ranks that share the weights": str(runtime.shard_ranks),
        **{flag(name): value for name, value in given.items()},
        **{f"the code of {flag(name)}": f"of digest {digest.hexdigest()[:12]}" for name, digest in code.items()},
    }


def optimizer_of(settings: TrainSettings, model: nn.Module, head_prefix: str | tuple[str, ...] = "") -> Optimizer:
    """The optimizer of the settings over what they leave to train, its rates scaled by the batch size if they ask."""
    factor, backbone = settings.lr_factor, settings.backbone_lr
    return build_optimizer(
        model,
        settings.optimizer,
        lr=settings.lr * factor,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        backbone_lr=None if backbone is None else backbone * factor,
        head_prefix=head_prefix,
        freeze=settings.freeze,
        averaged=settings.average != "none",
        ranks=1 if settings.parallel == "ddp" else _shard_ranks(settings) or dist.get_world_size(),
    )


def schedule_of(settings: JobSettings, optimizer: Optimizer, plan: Plan) -> Schedule:
    """The schedule of the settings over the steps that the plan has for it."""
    return build_schedule(
        optimizer,
        settings.schedule,
        steps=plan.scheduled,
        warmup=plan.warmup,
        milestones=[round(share * plan.scheduled) for share in settings.milestones],
        gamma=settings.lr_gamma,
        power=settings.power,
        mode="max" if plan.maximise else "min",
    )


def fit_batch_size(settings: S, usual: int, size: int, *, least: int = 1, ranks: int = 1) -> tuple[S, str]:
    """The settings with a batch size that the training samples allow, and a note where it is not the usual one.

    For fewer samples than the usual batch it is a quarter of them. Where each micro-batch needs at least two samples
    (see `least_samples`), a usual size that would leave one alone gives way to the nearest that does not. The settings
    go into the run's record, so that it resumes with the same batches. A batch size that the user chose is left to the
    loader, which refuses one that is too large.

    Args:
        usual: the default batch size.
        size: training samples.
        least: samples that each micro-batch of each rank needs, 1 or 2.
        ranks: those of the runtime that have samples of their own.

    Raises:
        UserError: the user's own batch size leaves a micro-batch with fewer than `least` samples, or every size does.
    """
    shares = settings.accumulate * max(settings.nproc // settings.tensor, ranks)
    batch_size, note = settings.batch_size, ""
    if batch_size == usual > size:
        batch_size = max(size // 4, shares)
        note = f" (not the default {usual}: there are {size} training samples)"
    if least > 1 and batch_size <= size and not _fills(batch_size, size, least * shares):
        alone = f"leaves one of {size:,} training samples alone in a micro-batch, too few for batch normalisation"
        sizes = chain(range(batch_size, 0, -1), range(batch_size, size + 1))
        other = next((each for each in sizes if _fills(each, size, least * shares)), None)
        if other is None:
            raise UserError(f"any --batch-size {alone}: give a smaller --accumulate, fewer ranks, or more samples")
        if settings.batch_size != usual:
            raise UserError(f"--batch-size {batch_size} {alone}; give --batch-size {other}")
        batch_size, note = other, note or f" (not the default {usual}, which {alone})"
    return settings.model_copy(update={"batch_size": batch_size}), note


def _fills(batch_size: int, size: int, needed: int) -> bool:
    """Whether every batch of an epoch, the last one too, has at least so many samples."""
    rest = size % batch_size
    return batch_size >= needed and (rest == 0 or rest >= needed)


@torch.no_grad()
def least_samples(model: nn.Module, sample: Tensor) -> int:
    """How many samples a micro-batch needs in training: two where batch normalisation sees one value of each, else one.

    `sample` is an input (1, ...) of the model's dtype, on its device. A frozen part (see `stay_in_eval`) needs none.
    """
    single: list[bool] = []

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        single.append(inputs[0].numel() == inputs[0].shape[1])

    norms = [m for m in model.train().modules() if isinstance(m, BatchNorm) and m.training]
    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    model.eval()(sample)
    model.train()
    for hook in hooks:
        hook.remove()
    return 2 if any(single) else 1


def data_name(settings: TrainSettings, built_in: str) -> str:
    """A word for the run directory: the data's, and its fold."""
    name = Path(settings.data).expanduser().resolve().name if settings.data else built_in
    name = name.encode(errors="ignore").decode()  # a file's name need not be UTF-8
    name = name.split(".")[0].lower().replace(" ", "-") or "data"
    return name if settings.fold is None else f"{name}-fold{settings.fold}"


def division_of(settings: TrainSettings, before: Members | None = None, *, val: float = 0.1) -> Division:
    """How the settings divide the data; samples of `before`, or of the run that is resumed, stay in their splits."""
    if before is None and settings.resume:
        before = Members.read(settings.resume)
    return Division(
        settings.seed,
        settings.split,
        val,
        settings.fold,
        settings.folds,
        settings.allow_duplicates,
        before,
    )


def say_learned(run: Path, before: Members | None, data: Members, *, split: str, of_run: str | None) -> None:
    """Prints how many of the measured samples the run has learned from, or has under another label, if any.

    `data`, `split`: the samples of which this split is measured.
    `before`: the samples of the run, None where it was stopped before it wrote them.
    `of_run`: the split of the run's own data that they are, and then how many of them are not those that the run had in
    it, which makes other figures than it left; None: they are other data.
    """
    if before is None:
        return
    measured = data.part(split)
    if learned := before.learned(measured):
        print(f"{learned:,} of these {counted(len(measured), 'sample')} are in the training split of {run}")
    if other := before.relabelled(measured):
        what = f"{len(other):,} of these {counted(len(measured), 'sample')} have another label than in {run}"
        print(f"note: {what} (the first is {data.place_of(other[0])})")
    if of_run is not None:
        new, gone = before.changed(of_run, measured)
        if new:
            print(f"note: {new:,} of these {counted(len(measured), 'sample')} are new to the {of_run} samples of {run}")
        if gone:
            print(f"note: the data has lost {counted(gone, 'sample')} that {run} had in {of_run}")


def run_of(
    settings: JobSettings,
    runtime: Runtime,
    job: str,
    *,
    data: str,
    about: Mapping[str, Any],
    members: Members | None = None,
) -> Run:
    """A new run directory named after the job and the data, or the one to resume.

    `about` is plain data that `meta.json` keeps, where `Trained` finds what it takes to build the model again;
    `members`, the samples of the job, are kept in `samples.csv`. Raises UserError where a run is resumed with another
    model or training set.
    """
    settings = settings.with_full_paths()
    if settings.precision == "auto":  # which may be another one on the machine that resumes the run
        settings = settings.model_copy(update={"precision": runtime.precision})
    if members is not None and runtime.world > 1:  # the digests of many samples take a while
        runtime.refuse_unequal(_splits(members), "copy the same data to all machines")
    before = Members.read(settings.resume) if settings.resume is not None and members is not None else None
    if settings.resume is not None:
        meta = read_json(settings.resume / "meta.json")
        if "pruned" in meta:
            raise UserError(
                f"--resume {settings.resume}: was pruned, and has no training to continue: give "
                f"--config {settings.resume / 'config.toml'} --weights {settings.resume}"
            )
        if before is not None and members is not None:
            before.refuse_changed_training(settings.resume, members)
        model = meta.get("model")
        if less_place(model) != less_place(about["model"]):
            raise UserError(
                f"--resume {settings.resume}: the data gives another model now (its classes, size or names)"
            )
    path = settings.resume or new_path(
        settings.run_dir, job, settings.name or data, seed=settings.seed, runtime=runtime
    )
    run = Run(
        path,
        runtime,
        config=settings.to_toml(),
        about={**about, "settings": settings.kept()},
        resume=settings.resume is not None,
        keep=settings.keep,
        save_async=isinstance(settings, TrainSettings) and settings.save_async,
        origin={
            "model": card_digest(less_place(about["model"])),
            "about": {name: value for name, value in about.items() if name not in ("data", "model")},
        },
        log_to=settings.log_to,
    )
    if runtime.is_main and members is not None:
        write_text(path / SAMPLES, members.joined(before).text())
    if isinstance(settings, TrainSettings) and settings.folds is not None:  # only now: the data may not have so many
        run.say(f"fold {settings.fold} of {settings.folds}")
    return run


def _splits(members: Members) -> dict[str, str]:
    """What the ranks of a job must have in common of its samples, by what a message calls it."""
    parts = {f"the {name} split": Members(members.part(name)) for name in SPLITS}
    digests = {name: sha256(part.text().encode(errors="surrogateescape")) for name, part in parts.items()}
    return {
        name: f"{counted(len(part.rows), 'sample')} of digest {digests[name].hexdigest()[:12]}"
        for name, part in parts.items()
    }


def less_place(model: Any) -> Any:
    """What a run says of its model, less where code of the user's own lies, which may be moved."""
    if not isinstance(model, dict):
        return model
    return {**model, **{key: short_name(model[key]) for key in _OWN if isinstance(model.get(key), str)}}


_OWN = {"name": "model", "kind": "task"}  # what may be code of the user's own in a card, and what it is the code of


def refuse_own_code_of(settings: TrainSettings) -> None:
    """Raises UserError, naming it, for a network, a loss or a kind whose code lies in the run that is to be resumed."""
    if (run := settings.resume) is not None:
        for option, name in settings.own_code().items():
            refuse_code_of(run, name, option, remedy=f"as {option} in {run / 'config.toml'}")


A = TypeVar("A", bound=Meta[Any])
M = TypeVar("M", bound=nn.Module)
Which = Literal["best", "last"]


@dataclass(frozen=True)
class Trained(Generic[A]):
    """A run directory as evaluate, predict and export find it."""

    run: Path
    about: A
    """What the run's `meta.json` holds."""
    checkpoint: Path

    @staticmethod
    def find(run: Path, domain: str, form: type[A], *, which: Which = "best") -> "Trained[A]":
        """The best checkpoint of a run (the last where none is marked best).

        `form` is that of what the domain writes to `meta.json`. Raises UserError where that is not there, or no
        checkpoint is.
        """
        if not (run / "meta.json").is_file():
            raise UserError(f"{run}: not a run directory (it has no meta.json)")
        refuse_other_format(run)
        meta = read_json(run / "meta.json")
        if "domain" not in meta:
            raise UserError(
                f"{run}: a run of your own program, which does not tell its model; "
                f"its weights are {run}/checkpoints/*/model.safetensors"
            )
        if meta["domain"] != domain:
            raise UserError(f"{run}: a run of `ptapp {meta['domain']}`, not of `ptapp {domain}`")
        about = checked(run / "meta.json", meta, form)
        folder = run / "checkpoints"
        steps = steps_in(folder)
        for old in folder.glob(".step-*.old"):
            if not (folder / old.stem[1:]).exists():
                raise UserError(f"{run}: was killed while it replaced {old.stem[1:]}; resume it, which puts that back")
        best = (folder / "best").resolve()
        if best.exists() and best not in {folder.resolve() / "best", *(step.resolve() for step in steps)}:
            raise UserError(f"{folder / 'best'}: leads out of the run, to {best}; remove it, or give --checkpoint last")
        checkpoint = best if which == "best" and best.exists() else steps[-1] if steps else None
        if checkpoint is None:
            raise UserError(f"{run}: no checkpoint yet")
        if which == "best" and checkpoint != best:
            print(
                f"ptapp: note: {run} has no checkpoint that is marked best: {checkpoint.name}, the last, is used",
                file=sys.stderr,
            )
        if problem := verify(checkpoint):
            raise UserError(f"{problem}; try --checkpoint {'last' if which == 'best' else 'best'}")
        return Trained(run, about, checkpoint)

    def load(self, build: Callable[[Any], M]) -> M:
        """The model that `build` makes of the card, with the trained weights; in eval mode.

        Raises UserError where the card, or memory, does not allow such a model, or its code lies in the run itself.
        """
        meta = self.run / "meta.json"
        for key, what in _OWN.items():
            if is_own(name := str(getattr(self.about.model, key, ""))):
                refuse_code_of(self.run, name, what, remedy=f"as {key} of the model in {meta}")
                if code := ", ".join(str(file.resolve()) for file in code_of(name)):
                    print(f"ptapp: note: the {what} of {self.run} is code of your own, {code}", file=sys.stderr)
        try:
            with within_memory():
                model = build(self.about.model)
                begin_rounding(model, self.about.qat or {})
        except UserError as error:
            raise UserError(f"{meta}: model: {error}") from error
        except Exception as error:  # sizes that do not fit each other, unknown options, and more
            raise UserError(f"{meta}: model: none can be built of this ({one_line(error)}); it was changed") from error
        load_weights(model, self.checkpoint / "model.safetensors")
        manifest, found = manifest_of(self.checkpoint), read_json(meta)
        manifest.refuse_other(found, self.checkpoint)
        if manifest.model not in (None, card_digest(less_place(found["model"]))):
            raise UserError(
                f"{meta}: model: is not what {self.checkpoint.name} was saved with (a class has another name or place, "
                "or an option another value); put it back as it was"
            )
        return model.eval()
