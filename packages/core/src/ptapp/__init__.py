"""ptapp as a library: a trained run answers in three lines, and gives the answers of `ptapp ... predict`.

    import ptapp
    model = ptapp.load("runs/vision-fercnn/20260131-154500-demo-s0")
    model.predict(["photo.jpg"])

Nothing heavy is imported before `load` is called. To train with your own program, import the loop from where it is:
`from ptapp_core.fit import fit`.
"""

from os import PathLike
from typing import Any, Literal

__all__ = ["load"]


def load(
    run: str | PathLike[str],
    *,
    checkpoint: Literal["best", "last"] = "best",
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32",
) -> Any:
    """The model of a run directory, ready to predict.

    Args:
        run: the directory that `ptapp ... train` printed.
        checkpoint: the best one by the validation split, or the last one.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: number format to compute in; that of `predict` and of an export is fp32.

    Returns:
        The `Predictor` of the run's domain: `ptapp_vision.predictor.Predictor` and its counterparts. `predict` takes a
        list of inputs and returns a list of answers.

    Raises:
        ptapp_core.errors.UserError: this is no run directory, it was changed, or its domain is not installed.
    """
    from importlib import import_module, metadata
    from pathlib import Path

    from ptapp_core.errors import UserError
    from ptapp_core.machine.runtime import Runtime
    from ptapp_core.runs.run import read_json

    meta = Path(run) / "meta.json"
    if not meta.is_file():
        raise UserError(f"{run}: not a run directory (it has no meta.json)")
    domain = str(read_json(meta).get("domain"))
    (*_, entry) = (None, *metadata.entry_points(group="ptapp.domains", name=domain))
    if entry is None:
        raise UserError(f"{run}: a run of `ptapp {domain}`, which is not installed")
    predictor = import_module(f"{entry.module.partition('.')[0]}.predictor")
    return predictor.Predictor(Path(run), checkpoint, Runtime(device, precision))
