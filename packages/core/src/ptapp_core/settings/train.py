"""The settings of jobs that train: any job (`JobSettings`), and one that learns from a data set (`TrainSettings`)."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator
from pydantic.fields import FieldInfo

from ptapp_core.errors import UserError, install, nearest
from ptapp_core.runs.formats import refuse_other_format, settings_kept
from ptapp_core.settings.auto import is_auto, refuse_unnamed
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import RECORD, flag, group_of, option
from ptapp_core.settings.idle import OF_ANY_JOB, OF_DATA, Only, refuse_idle
from ptapp_core.settings.own import full_name, is_own, short_name
from ptapp_core.settings.ranks import MACHINES, MEETING, OF_MACHINES, Ranks
from ptapp_core.settings.toml import toml_value

_PLACES = frozenset(("data", "weights", "qat", "env"))
"""Settings that say where something lies, which may be moved."""


class JobSettings(Settings):
    """The settings of any job that trains: how it optimises, where it runs, what it leaves."""

    may_change: ClassVar[frozenset[str]] = frozenset(
        ("device", "nproc", *OF_MACHINES, "threads", "log_to", "keep", "run_dir", "profile")
    )
    """What `--resume` may change: how long, where and how visibly the job runs, never what it computes."""
    only: ClassVar[tuple[Only, ...]] = OF_ANY_JOB
    """Which options do something in some jobs alone; in others they are refused."""
    first: ClassVar[tuple[str, ...]] = ("lr", "batch_size", "device", "seed", "name", "run_dir", "resume")
    lengths: ClassVar[tuple[str, ...]] = ()
    """The settings of `may_change` that say how long the job is; schedules keep to those of the run's first call."""

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta"] = option(
        "adamw", "update rule", group="Optimisation"
    )
    lr: float = option(1e-3, "peak learning rate", group="Optimisation", gt=0)
    momentum: float = option(0.9, "momentum of sgd and rmsprop", group="Optimisation", ge=0, lt=1)
    weight_decay: float = option(0.01, "weight decay, not on biases and normalisation", group="Optimisation", ge=0)
    schedule: Literal[
        "constant", "step", "multistep", "exponential", "cosine", "polynomial", "cyclic", "onecycle", "plateau"
    ] = option("cosine", "how the learning rate goes after the warm-up", group="Optimisation")
    warmup: float = option(0.05, "linear warm-up, as a share of all steps", group="Optimisation", ge=0, lt=1)
    milestones: list[float] = option(
        [0.5, 0.75], "when step and multistep take their factor, as shares of all steps", group="Optimisation"
    )
    lr_gamma: float = option(
        0.1,
        "factor of step, multistep, plateau; final over first rate of exponential",
        group="Optimisation",
        gt=0,
        lt=1,
    )
    power: float = option(1.0, "power of the polynomial schedule", group="Optimisation", gt=0)
    clip: float | None = option(None, "largest global norm of the gradient", group="Optimisation", gt=0)
    average: Literal["none", "ema", "swa"] = option("none", "average the weights over steps", group="Optimisation")
    average_decay: float = option(0.999, "decay per step of the ema average", group="Optimisation", ge=0, lt=1)
    patience: int | None = option(
        None, "stop after so many evaluations without improvement and restore the best", group="Optimisation", ge=1
    )
    monitor: str | None = option(None, "metric that says what is best; none: the task's own", group="Optimisation")

    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", group="Device")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option("auto", "number format to compute in", group="Device")
    nproc: int = option(1, "processes on this machine, one for each device", group="Device", ge=1, le=1024)
    nnodes: str = option("1", MACHINES, group="Device")
    rdzv: str | None = option(None, MEETING, group="Device")
    max_restarts: int = option(
        0, "how often the ranks of a machine are started again when one fails", group="Device", ge=0, le=1000
    )
    timeout: float = option(
        1800.0, "seconds that a rank may keep the others waiting; then the job ends", group="Device", ge=1, le=86400
    )
    deterministic: bool = option(False, "same bits on every run of a GPU too, at some speed", group="Device")
    threads: int | None = option(None, "CPU threads per process; none: torch decides", group="Device", ge=1, le=1024)

    seed: int = option(0, "seed of weights, order and augmentation", group="Run", ge=0, lt=2**32)
    run_dir: Path = option(Path("runs"), "directory for runs", group="Run")
    name: str | None = option(None, "name of this run, in place of the data's", group="Run")
    resume: Path | None = option(None, "run to continue, exactly; auto: that of --name", group="Run")
    log_every: int | None = option(
        None, "steps between logged losses; none: 50, a tenth of a shorter job", group="Run", ge=1
    )
    keep: int = option(2, "checkpoints to keep, besides the best", group="Run", ge=1)
    log_to: list[Literal["tensorboard", "wandb", "mlflow"]] = option(
        ["tensorboard"], "where metrics go, besides metrics.jsonl", group="Run"
    )
    profile: bool = option(False, "record a few steps with torch.profiler", group="Run")
    began_with: dict[str, int | float] = option({}, "length of the job that its schedules keep to", group=RECORD)

    @field_validator("nnodes", mode="before")
    @classmethod
    def _one_number_is_a_range(cls, nnodes: Any) -> Any:
        return str(nnodes) if isinstance(nnodes, int) else nnodes

    @field_validator("device")
    @classmethod
    def _device_has_a_known_form(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
            raise ValueError(f"unknown device{nearest(device, ('auto', 'cpu', 'cuda', 'cuda:0', 'mps'))}")
        return device

    @field_validator("log_to")
    @classmethod
    def _trackers_are_installed(cls, trackers: list[str]) -> list[str]:
        for name in trackers:
            if find_spec(name) is None:
                raise ValueError(f"{name} is not installed: {install('ptapp-core', name)}")
        return trackers

    @field_validator("milestones")
    @classmethod
    def _milestones_ascend(cls, milestones: list[float]) -> list[float]:
        if milestones != sorted(set(milestones)) or not all(0 < share < 1 for share in milestones):
            raise ValueError("must be shares of all steps between 0 and 1, ascending")
        return milestones

    @field_validator("began_with")
    @classmethod
    def _lengths_are_the_jobs(cls, lengths: dict[str, int | float]) -> dict[str, int | float]:
        if lengths.keys() - set(cls.lengths) or not all(length > 0 for length in lengths.values()):
            raise ValueError(f"must be {' or '.join(cls.lengths) or 'empty'}, above 0")
        return lengths

    @field_validator("name")
    @classmethod
    def _name_is_one_directory(cls, name: str | None) -> str | None:
        if name is not None and (not name.strip() or name.startswith(".") or re.search(r"[/\\\0]", name)):
            raise ValueError("must be a plain name: it becomes part of the run's directory")
        return name

    def usual(self) -> Mapping[str, Any]:
        """The defaults of such a job that are not those of its fields."""
        return {}

    @model_validator(mode="after")
    def _options_fit_the_job(self) -> Self:
        refuse_idle(self, self.only, self.usual())
        if self.nproc > 1 and (self.device == "mps" or ":" in self.device):
            raise ValueError(f"--device {self.device} is one device: --nproc {self.nproc} needs cpu, cuda or auto")
        _ = self.ranks  # which refuses what does not go together
        return self

    @property
    def ranks(self) -> Ranks:
        """The processes that do the job together."""
        return Ranks(self.nproc, self.nnodes, self.rdzv, self.max_restarts, self.name or "ptapp")

    @classmethod
    def resolve(cls, config: Path | None, options: Mapping[str, object]) -> Self:
        """Resolves as all settings do; with `resume` among the options, the settings of that run (see `resumed`)."""
        run = options.get("resume")
        if run not in (None, "none") and not is_auto(Path(str(run))):
            if config is not None:
                raise UserError("--resume continues with the run's own settings: leave --config out")
            return cls.resumed(Path(str(run)), options)
        settings = super().resolve(config, options)
        if settings.resume is not None and run is None:
            raise UserError(f"{config}: resume is for the command line: give --resume {settings.resume}")
        refuse_unnamed(settings)
        return settings

    @classmethod
    def resumed(cls, run: Path, options: Mapping[str, object]) -> Self:
        """The settings of the run directory `run`, with `options` over them and `resume` set to it.

        Raises:
            UserError: `run` is no run directory, or an option changes what the run computes (see `may_change`).
        """
        config = run / "config.toml"
        if not config.is_file():
            raise UserError(f"--resume {run}: not a run directory (it has no config.toml)")
        refuse_other_format(run)
        before = cls.of_run(run)
        fixed = cls.model_fields.keys() - cls.may_change - {"resume"}

        def check(name: str, new: Any) -> None:
            if name in fixed and (old := getattr(before, name)) != new:
                said = f"{run} has {toml_value(old)}, now {toml_value(new)}; leave it out, or start a new run"
                raise UserError(f"{flag(name)} cannot change when a run is resumed: {said}")

        try:
            now = super().resolve(config, {**options, "resume": run})
        except UserError:  # another --algo, say, does not fit with the run's options: that it is another comes first
            for name, given in options.items():
                if isinstance(given, str) and isinstance(getattr(before, name, None), str):
                    check(name, given)
            raise
        for name in cls.model_fields:
            check(name, getattr(now, name))
        same = all(getattr(now, name) == getattr(before, name) for name in cls.lengths)
        first = {name: getattr(before, name) for name in cls.lengths if getattr(before, name) is not None}
        return now if same or before.began_with else now.model_copy(update={"began_with": first})

    @classmethod
    def of_run(cls, run: Path) -> Self:
        """The settings in `config.toml` of a run; where its data lies, and what `may_change`, may have been edited.

        Raises:
            UserError: the file cannot be read, or another setting is not the one that the run began with.
        """
        config = run / "config.toml"
        settings = super().resolve(config, {})
        for name, began in settings_kept(run / "meta.json").items():
            if (now := settings.kept().get(name, began)) != began:
                raise UserError(
                    f"{config}: {name} is {now}, and the run began with {began}: put that back, or start a new run "
                    f"with --config {config}"
                )
        return settings

    def kept(self) -> dict[str, str]:
        """Each setting that decides what the run computes, as TOML: `meta.json` has them to compare `config.toml` with.

        Those that say where something lies are not among them.
        """
        fixed = type(self).model_fields.keys() - self.may_change - _PLACES - {"resume", "began_with"}
        code = {name: short_name(value) for name, value in self.own_code().items()}
        return {name: toml_value(code.get(name, getattr(self, name))) for name in sorted(fixed)}

    def own_code(self) -> dict[str, str]:
        """The settings that name code of the user's own, with its name."""
        found = {name: getattr(self, name, None) for name in ("model", "loss", "task")}
        return {name: value for name, value in found.items() if value is not None and is_own(value)}

    def as_begun(self) -> Self:
        """The same with the length that the run began with."""
        return self.model_copy(update={**dict.fromkeys(self.lengths), **self.began_with}) if self.began_with else self

    def to_toml(self) -> str:
        """The settings as TOML, less those of the call: which run it continued, on which machines, how often."""
        of_call = ("resume", *OF_MACHINES)
        plain = {name: type(self).model_fields[name].default for name in of_call}
        return super(JobSettings, self.model_copy(update=plain)).to_toml()

    @classmethod
    def groups(cls) -> dict[str, dict[str, FieldInfo]]:
        """The fields by group, those of every job last."""
        grouped, common = super().groups(), {group_of(field) for field in JobSettings.model_fields.values()}
        return dict(sorted(grouped.items(), key=lambda item: item[0] in common))

    def with_full_paths(self) -> Self:
        """The settings with the paths that the job's record must name wherever it is read from."""
        return self


class TrainSettings(JobSettings):
    """The settings that every `train` on a data set shares; a domain subclasses it and adds its own."""

    may_change: ClassVar[frozenset[str]] = JobSettings.may_change | {
        *("epochs", "steps", "workers", "test", "parallel", "shard_ranks", "tensor", "save_async")
    }
    first: ClassVar[tuple[str, ...]] = (*JobSettings.first, "data", "split", "folds", "model", "epochs", "patience")
    lengths: ClassVar[tuple[str, ...]] = ("epochs", "steps")
    only: ClassVar[tuple[Only, ...]] = (*JobSettings.only, *OF_DATA)

    data: str | None = option(None, "path or name of the data; none: generated data", group="Data")
    batch_size: int = option(
        64, "samples per optimizer step, over all ranks and micro-batches", group="Data", short="-b", ge=1
    )
    workers: int = option(2, "processes that load data too large for memory", group="Data", ge=0, le=1024)
    skip_bad: bool = option(False, "leave out samples that cannot be read, and count them", group="Data")

    split: Literal["hash", "exact"] = option(
        "hash", "shares of the splits that the data lacks, by a hash of each sample's name, or exact", group="Data"
    )
    allow_duplicates: bool = option(False, "accept byte-identical samples in two splits", group="Data")
    group_column: str | None = option("auto", "column of what stays in one split; or auto, none", group="Data")
    folds: int | None = option(None, "cross-validation: a run for each fold", group="Data", ge=2, le=1000)
    fold: int | None = option(None, "test on this fold alone, of --folds", group="Data", ge=0)

    model: str = option("", "name of the model", group="Model", short="-m")
    freeze: list[str] = option([], "parts that do not learn, by the network's own names", group="Model")
    activation_checkpointing: bool = option(False, "recompute activations: less memory, more time", group="Model")
    compile: bool = option(False, "compile the model with torch.compile", group="Model")
    qat: Path | None = option(
        None, "train on from the best weights of this run, rounded as int8 is (export --quantize qat)", group="Model"
    )

    parallel: Literal["ddp", "fsdp", "hsdp"] = option(
        "ddp", "ranks have the whole model (ddp), a share of it (fsdp), or groups of ranks do (hsdp)", group="Device"
    )
    shard_ranks: int | None = option(
        None, "ranks that share a copy of the model; none: those of a machine", group="Device", ge=2
    )

    tensor: int = option(1, "ranks that compute each layer of a transformer together", group="Device", ge=1, le=1024)

    epochs: float = option(10.0, "passes over the training data", group="Optimisation", short="-e", gt=0)
    steps: int | None = option(None, "optimizer steps to train for, instead of --epochs", group="Optimisation", ge=1)
    backbone_lr: float | None = option(None, "peak lr of the pretrained part; none: --lr", group="Optimisation", ge=0)
    lr_scale: Literal["none", "linear", "sqrt"] = option(
        "none", "multiply the rates by --batch-size / --lr-base-batch, or by its root", group="Optimisation"
    )
    lr_base_batch: int = option(256, "batch size that --lr is for, with --lr-scale", group="Optimisation", ge=1)
    accumulate: int = option(1, "micro-batches per optimizer step", group="Optimisation", ge=1)
    eval_every: float = option(1.0, "epochs between evaluations", group="Run", gt=0)
    test: bool = option(True, "measure on the test split at the end; --no-test: on val, as tuning must", group="Run")
    save_every: float | None = option(None, "epochs between checkpoints; none: at each evaluation", group="Run", gt=0)
    save_async: bool = option(
        False, "write checkpoints in the background, from a copy in memory, while the job goes on", group="Run"
    )

    @model_validator(mode="after")
    def _possible_together(self) -> Self:
        least = self.accumulate * max(self.nproc // self.tensor, 1)
        if least > self.batch_size:
            raise ValueError(
                f"--batch-size {self.batch_size} is too small for --accumulate {self.accumulate} micro-batches on "
                f"--nproc {self.nproc}: give at least {least}"
            )
        if self.patience is not None and self.steps is None and self.eval_every > self.epochs:
            raise ValueError(
                f"--patience {self.patience} needs evaluations, but --eval-every {self.eval_every:g} is beyond "
                f"--epochs {self.epochs:g}: make it smaller"
            )
        if self.folds is not None and self.fold is None and not self.ranks.one:
            raise ValueError("--folds runs one job after the other in this process: leave --nproc and --nnodes out")
        if self.folds is not None and not self.test:
            raise ValueError("--folds measures each fold as the test: leave --no-test out")
        if self.compile and self.activation_checkpointing:
            raise ValueError("--compile and --activation-checkpointing do not work together: leave one of them out")
        if self.qat is not None:
            self._fits_qat()
        if self.parallel != "ddp" or self.tensor > 1:
            self._fits_shards()
        return self

    def _fits_shards(self) -> None:
        """Raises ValueError for what a job whose ranks have a share each of the weights cannot do."""
        form = f"--parallel {self.parallel}" if self.tensor == 1 else f"--tensor {self.tensor}"
        beside = {"compile": self.compile}
        if self.tensor > 1:
            beside |= {f"parallel {self.parallel}": self.parallel != "ddp"}
            beside |= {"activation-checkpointing": self.activation_checkpointing}
        for name in (name for name, given in beside.items() if given):
            raise ValueError(f"--{name} and {form} do not work together: leave one of them out")
        if self.qat is not None:
            raise ValueError(
                "--qat takes its ranges from rank 0, which has all weights with --parallel ddp and --tensor 1 alone"
            )

    def _fits_qat(self) -> None:
        """Raises ValueError for what quantisation-aware training cannot do, or would not heed."""
        beside = ("weights", "pretrained", "lora", "freeze", "compile", "activation_checkpointing", "folds")
        given = {name: value for name in beside if (value := getattr(self, name, None))}
        if given:  # on the command line, or in the file of --config, where it cannot be left out
            without = [f"--no-{flag(name)[2:]}" if on is True else f"{flag(name)} none" for name, on in given.items()]
            raise ValueError(f"--qat trains all weights of a run, eagerly, on its own splits: give {' '.join(without)}")
        if self.precision not in ("auto", "fp32"):
            raise ValueError(f"--qat rounds what is computed in fp32, not in {self.precision}: give --precision fp32")

    @property
    def lr_factor(self) -> float:
        """What the batch size multiplies every learning rate by.

        `linear` is the rule of Goyal et al. (2017), for SGD; `sqrt` that of Malladi et al. (2022), for Adam.
        """
        ratio = self.batch_size / self.lr_base_batch
        return {"none": 1.0, "linear": ratio, "sqrt": ratio**0.5}[self.lr_scale]

    def lr_note(self) -> str:
        """What the batch size makes of the learning rate, for the line of the plan; empty where it does nothing."""
        if self.lr_scale == "none":
            return ""
        rule = f"{self.batch_size} / {self.lr_base_batch}"
        rule = rule if self.lr_scale == "linear" else f"the root of {rule}"
        return f", lr {self.lr * self.lr_factor:.4g} ({self.lr:.4g} times {rule})"

    def with_full_paths(self) -> Self:
        """The paths of the data and of code of the user's own, where they have one: the run outlives this directory."""
        paths = {name: full_name(value) for name, value in self.own_code().items()}
        if self.data is not None and Path(self.data).expanduser().exists():
            paths["data"] = str(Path(self.data).expanduser().resolve())
        if self.qat is not None:
            paths["qat"] = str(self.qat.expanduser().resolve())
        return self.model_copy(update=paths)

    @classmethod
    def resolve(cls, config: Path | None, options: Mapping[str, object]) -> Self:
        """Resolves as every job does; --epochs would do nothing beside steps, and is refused.

        The job of `--qat` begins with another run, in fp32, whatever weights and precision the job of the file had.
        """
        if config is not None and options.get("qat") not in (None, "none"):
            beginning = {"weights": None} if "weights" in cls.model_fields else {}
            options = {"precision": "fp32", **beginning, **options}
        if options.get("parallel", "hsdp") != "hsdp":  # whatever the file or the run had
            options = {"shard_ranks": None, **options}
        settings = super().resolve(config, options)
        if "epochs" in options and settings.steps is not None:
            remedy = "leave one of them out" if "steps" in options else "add --steps none to go by epochs"
            raise UserError(f"--epochs and --steps {settings.steps} both say how long to train: {remedy}")
        return settings
