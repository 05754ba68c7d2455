"""A finished job as evaluate, predict and export find it."""

from pathlib import Path

from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained, Which
from ptapp_core.runs.run import read_json
from ptapp_vision.card import About


def find_trained(run: Path, checkpoint: Which) -> Trained:
    """The model of a run of `ptapp vision train`; raises UserError for any other directory."""
    meta = run / "meta.json"
    if meta.is_file() and "domain" not in read_json(meta):
        raise UserError(
            f"{run}: a run of your own program, which does not tell its model; "
            f"its weights are {run}/checkpoints/*/model.safetensors"
        )
    return Trained.find(run, "vision", About, which=checkpoint)
