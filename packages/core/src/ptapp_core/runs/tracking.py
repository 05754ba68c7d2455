"""MLflow, asked quietly: without telemetry, and with one line for whatever it or its database cannot do. No torch."""

import logging
import os
import re
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptapp_core.errors import UserError, install, one_line

_ID = "mlflow-id.txt"
"""The file of a run directory that names its MLflow run."""
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # seven would be two minutes
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""What is set unless the user did; telemetry would go to MLflow's makers."""
_THEIRS = {"alembic", "mlflow", "requests", "sqlalchemy", "urllib3"}
"""The packages whose errors are about the place that MLflow keeps things in."""


@contextmanager
def asking(what: str) -> Iterator[Any]:
    """The module `mlflow`; `MLFLOW_TRACKING_URI` says where it keeps things.

    Raises UserError, beginning with `what`, where it is not installed, and for an error of its own inside the block.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of what other libraries deprecated
        try:
            import mlflow
        except ImportError as error:
            raise UserError(f"{what}: {error}; install it with: {install('ptapp-core', 'mlflow')}") from error
        for name in ("alembic", "mlflow"):  # they tell of the tables that they make
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield mlflow
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in _THEIRS and not isinstance(error, ImportError):
                raise
            reason = one_line(getattr(error, "orig", None) or error)  # a database's own words, without the SQL
            place = os.environ.get("MLFLOW_TRACKING_URI") or "its local store"
            text = f"{what}: MLflow cannot do this at {place} (MLFLOW_TRACKING_URI): {reason}"
            raise UserError(re.sub(r"//[^/@\s]*@", "//", text)) from error  # without a password


def start_run(mlflow: Any, run_path: Path) -> Any:
    """Starts the MLflow run of a run directory, or goes on with it; a new one has the settings as its parameters.

    Raises UserError where the directory names one that this MLflow does not have.
    """
    file = run_path / _ID
    mlflow.set_experiment(run_path.resolve().parent.name)
    if not file.exists():
        run = mlflow.start_run(run_name=run_path.resolve().name)
        file.write_text(run.info.run_id, encoding="utf-8")
        mlflow.log_params(settings_of(run_path))
        return run
    try:
        return mlflow.start_run(run_id=file.read_text(encoding="utf-8").strip())
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(
            f"{file}: MLflow has no such run where MLFLOW_TRACKING_URI points; set it to where the job was logged, or "
            "remove the file to begin another run"
        ) from error


def log_report(run_path: Path) -> None:
    """Sends the report of a run that has ended to its MLflow run."""
    with asking("--log-to mlflow") as mlflow, start_run(mlflow, run_path):
        mlflow.log_artifacts(str(run_path / "report"), "report")


def settings_of(run_path: Path) -> dict[str, Any]:
    """What `config.toml` of a run says; nothing where there is none."""
    file = run_path / "config.toml"
    return tomllib.loads(file.read_text(encoding="utf-8", errors="surrogateescape")) if file.exists() else {}
