"""`ptapp register`: the proven ONNX export of a run becomes a model of MLflow, without pickle, and a version."""

import hashlib
import json
from importlib import metadata
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field

from ptapp_core.registry.config import RegisterSettings
from ptapp_core.registry.fetch import DIGESTS, digest
from ptapp_core.runs.tracking import asking, start_run
from ptapp_core.runs.typed import Typed, checked
from ptapp_core.serve.front import CARD
from ptapp_core.serve.session import Model, open_model
from ptapp_core.ship.exported import Exported

_NEEDS = ("numpy", "onnx", "onnxruntime")
"""What MLflow's own server needs to answer with the model, in the versions that are installed here."""


class _Tested(Typed):
    """What a card says of the test split, if its model was measured on it."""

    test: dict[str, float] = Field(default_factory=dict)


def register(settings: RegisterSettings) -> None:
    """Gives the export of a run a version, and the alias that is asked for; report and figures go to its MLflow run.

    Raises UserError for a run without a current export, and for one that a server could not open.
    """
    exported = Exported.of(settings.run)
    model, tested = open_model(exported.model), checked(exported.folder / CARD, exported.about, _Tested)
    digests = {file.name: digest(file) for file in exported.files()}
    with asking("ptapp register") as mlflow, TemporaryDirectory(prefix="ptapp-register-") as part:
        folder = Path(part) / f"model-{hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:12]}"
        _save(mlflow, exported, model, folder=folder)
        client = mlflow.MlflowClient()
        with start_run(mlflow, settings.run) as run:
            if (settings.run / "report").is_dir():
                mlflow.log_artifacts(str(settings.run / "report"), "report")
            mlflow.log_metrics({f"test/{name}": value for name, value in tested.test.items()})
            mlflow.log_artifacts(str(folder), folder.name)
        _make_sure_of(client, settings.name, mlflow.MlflowException)
        source, tags = f"{run.info.artifact_uri}/{folder.name}", {DIGESTS: json.dumps(digests)}
        version = client.create_model_version(settings.name, source, run.info.run_id, tags=tags).version
        if settings.alias is not None:
            client.set_registered_model_alias(settings.name, settings.alias, str(version))
    alias = "" if settings.alias is None else f", and {settings.alias} points at it"
    print(f"{settings.name}: version {version} is {settings.run}{alias}")


def _save(mlflow: Any, exported: Exported, model: Model, *, folder: Path) -> None:
    """Writes a model of MLflow whose files are those of the export, byte for byte."""
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs, outputs = (
        Schema([TensorSpec(port.dtype, port.shape, port.name) for port in ports])
        for ports in (model.inputs, model.outputs)
    )
    mlflow.onnx.save_model(
        onnx.load(exported.model),
        folder,
        signature=ModelSignature(inputs, outputs),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in _NEEDS],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    for file in exported.files():
        copyfile(file, folder / file.name)


def _make_sure_of(client: Any, name: str, error: type[Exception]) -> None:
    """Makes a registered model of this name, unless there is one."""
    try:
        client.create_registered_model(name)
    except error as found:
        if getattr(found, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
            raise
