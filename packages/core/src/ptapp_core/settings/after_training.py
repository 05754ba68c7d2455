"""Settings shared by evaluate, predict and export."""

from collections.abc import Callable, Sized
from pathlib import Path
from typing import ClassVar, Literal, Self, TypeVar

from pydantic import model_validator

from ptapp_core.errors import UserError
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import argument, option
from ptapp_core.settings.idle import Only, refuse_idle

P = TypeVar("P", bound=Sized)


class OfRun(Settings):
    """A run, and which of its weights."""

    only: ClassVar[tuple[Only, ...]] = ()
    """Which options do something beside some others alone."""

    run: Path = argument("run directory")
    checkpoint: Literal["best", "last"] = option("best", "which weights", group="Model")

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> Self:
        refuse_idle(self, self.only, {})
        return self


class ComputeSettings(OfRun):
    """Where the model computes, and in which numbers."""

    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", group="Device")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option("auto", "number format to compute in", group="Device")


class EvaluateSettings(ComputeSettings):
    """Which data a run's model is measured on."""

    data: str | None = option(None, "other data than the run's own", group="Data")
    split: Literal["train", "val", "test", "all"] | None = option(
        None, "which part of it; none: test, or all of other data that has no test", group="Data"
    )
    skip_bad: bool = option(False, "leave out samples that cannot be read, and count them", group="Data")

    def refuse_idle(self, learned_from: str | None, *rules: Only) -> None:
        """Raises UserError for an option that does nothing here.

        Args:
            learned_from: the run's data; None: what the program makes.
            rules: what the options of the domain are for.
        """
        own = (self.data or learned_from) is not None
        refuse_idle(self, (Only(("skip_bad",), lambda _: own, "data of your own (--data)"), *rules), {})

    def chosen(self, part: Callable[[str], P]) -> tuple[str, P]:
        """The name of the split to measure, and its samples as `part(name)` has them; refuses one without samples."""
        name = self.split or ("test" if len(part("test")) else "all")
        samples = part(name)
        if not len(samples):
            raise UserError(f"--split {name}: the data has no such samples")
        return name, samples

    def folder(self, split: str) -> Path:
        """A folder in `evaluation/` that is named after what is measured; `report/` stays the job's own."""
        about = {"run", "data", "split", "skip_bad", "device", "precision"}
        changed = [f"{name}-{value}" for name, value in self.model_dump(exclude=about, exclude_defaults=True).items()]
        name = Path(self.data).resolve().name if self.data else "own"
        return self.run / "evaluation" / "-".join([name, split, *changed])


class PredictFiles(ComputeSettings):
    """How the answers for files are printed; a domain adds the files."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"  # an export computes in it too

    json_: bool = option(False, "one JSON object a line", group="Output")
    csv: bool = option(False, "comma-separated values", group="Output")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.json_ and self.csv:
            raise ValueError("--json and --csv are two forms of output: choose one")
        return self


_QUANTISED = "--quantize static, dynamic and auto"


class ExportSettings(OfRun):
    """The form of an export."""

    only: ClassVar[tuple[Only, ...]] = (
        Only(("quantize", "precision"), lambda job: job.format == "onnx", "--format onnx"),
        Only(("keep",), lambda job: job.quantize not in ("none", "qat"), _QUANTISED),
        Only(
            ("tolerance",),
            lambda job: job.quantize != "none" or job.precision != "fp32",
            f"{_QUANTISED} and qat, and --precision fp16 and bf16",
        ),
        Only(
            ("calibrate",),
            lambda job: job.quantize in ("static", "auto") or (job.quantize == "dynamic" and job.keep == "auto"),
            "--quantize static and auto, and --keep auto",
        ),
    )

    format: Literal["pt2", "onnx", "torchscript"] = option("onnx", "form of the exported model", group="Output")
    precision: Literal["fp32", "fp16", "bf16"] = option(
        "fp32", "also write a form whose network computes in these numbers", group="Output"
    )
    quantize: Literal["none", "static", "dynamic", "auto", "qat"] = option(
        "none",
        "also write an int8 form; auto is static with convolutions, else dynamic; qat: of a run of train --qat",
        group="Quantisation",
    )
    calibrate: int = option(
        256, "training samples from which a static form takes its scales", group="Quantisation", ge=1
    )
    keep: str | None = option(
        None, "layers that stay in fp32: names with commas, patterns, or auto", group="Quantisation"
    )
    tolerance: float = option(
        0.5,
        "points of its figure that a lossy form may lose on the validation split",
        group="Quantisation",
        ge=0,
        le=100,
    )


class BenchmarkSettings(OfRun):
    """How the forms of a run's model, or of its training, are compared."""

    only: ClassVar[tuple[Only, ...]] = (
        Only(("train_steps",), lambda job: job.train, "--train"),
        Only(("seconds", "profile", "checkpoint"), lambda job: not job.train, "the forms of a trained model"),
    )

    run: Path = argument("run directory; with --train also a TOML file with settings of train")
    train: bool = option(
        False, "compare forms of training instead: fp32, bf16, fp16, compiled and others", group="Benchmark"
    )
    train_steps: int = option(30, "steps that --train learns for in each form", group="Benchmark", ge=10, le=10**6)
    seconds: float = option(1.0, "how long each is timed, for each size of a batch", group="Benchmark", gt=0, le=600)
    compile: bool = option(False, "time torch.compile, too, which takes a minute or more", group="Benchmark")
    profile: bool = option(False, "write a trace of the model's operators, and name the costliest", group="Benchmark")
    json_: bool = option(False, "print JSON in place of the table", group="Output")


class PruneSettings(ComputeSettings):
    """What is removed from a run's model, and where the new run goes."""

    share: float = option(
        0.5, "what is removed: of each layer's channels, or of all weights", group="Pruning", gt=0, lt=1
    )
    unstructured: bool = option(
        False, "set single weights to zero, which makes no model faster; else whole channels go", group="Pruning"
    )
    run_dir: Path = option(Path("runs"), "directory for the new run", group="Run")
    name: str | None = option(None, "name of the new run, in place of the data's", group="Run")
