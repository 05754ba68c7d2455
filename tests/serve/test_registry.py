"""Runs become versions of a registered model, aliases move, and a server takes them up without losing a request."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from ptapp_core.errors import UserError
from ptapp_core.serve.address import Address
from serve.running import Running, install_toy, picture, serving, until, write_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed (the extra mlflow)"),
]
TEST = {"accuracy": 0.75, "loss": 0.5}
_ADDRESS = "models:/toy@champion"


def write_run(folder: Path, scale: float) -> Path:
    """A finished run of the toy domain with an export of its last checkpoint."""
    write_model(folder / "export", scale=scale, checkpoint="step-00000001", test=TEST)
    (folder / "checkpoints" / "step-00000001").mkdir(parents=True)
    (folder / "report").mkdir()
    (folder / "report" / "metrics.json").write_text(json.dumps({"test": TEST}))
    (folder / "config.toml").write_text("lr = 0.1\n")
    (folder / "meta.json").write_text(json.dumps({"domain": "toy"}))
    return folder


_COMMANDS = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from ptapp_core.cli.main import main
answers, before = sys.stdout, dict(os.environ)
for line in sys.stdin:
    words, environment = json.loads(line)
    os.environ.update(environment)
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(words)
    os.environ.update(before)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), file=answers, flush=True)
"""


class Registry:
    """A folder with two runs, a store in SQLite, a cache, the toy domain, and a process for commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = [write_run(folder / "runs" / "toy-net" / name, scale) for name, scale in (("a", 1.0), ("b", -1.0))]
        path = os.pathsep.join([*install_toy(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.environment = {
            **os.environ,
            "PYTHONPATH": path,
            "PTAPP_CACHE": str(folder / "cache"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
        self.commands = subprocess.Popen(  # to import MLflow takes seconds
            [sys.executable, "-c", _COMMANDS],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str | Path, code: int = 0, **environment: str) -> str:
        """What `ptapp WORDS` prints: on stdout, or the line of its error where it ends with another code."""
        assert self.commands.stdin
        assert self.commands.stdout
        print(json.dumps([list(map(str, words)), environment]), file=self.commands.stdin, flush=True)
        found, out, err = json.loads(self.commands.stdout.readline())
        assert found == code, err
        assert len(err.splitlines()) == (code != 0), err
        return str(err.removeprefix("ptapp: error: ") if code else out).strip()

    def python(self, code: str) -> Any:
        """What a program in the same environment prints, as JSON."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE
        )
        assert done.returncode == 0
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Two versions of `toy`: 1 is the champion, 2 the challenger."""
    found = Registry(tmp_path_factory.mktemp("registry"))
    for run, alias, version in zip(found.runs, ("champion", "challenger"), "12", strict=True):
        said = found.run("register", run, "--name", "toy", "--alias", alias)
        assert said == f"toy: version {version} is {run}, and {alias} points at it"
    yield found
    with found.commands as process:
        process.kill()


@pytest.fixture(scope="module")
def server(registry: Registry) -> Iterator[Running]:
    often = "import ptapp_core.serve.registered as registered\nregistered.EVERY = 12.0\n"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PTAPP_CACHE", "MLFLOW_TRACKING_URI"):
            patch.setenv(name, registry.environment[name])
        with serving(registry.folder, _ADDRESS, before=often) as running:
            yield running


def test_a_moved_alias_is_taken_up_without_losing_a_request(registry: Registry, server: Running) -> None:
    codes: list[int] = []
    versions: list[str] = []
    ended = Event()

    def ask() -> None:
        with server.client() as client:
            while not ended.is_set():
                answer = client.post("/predict", content=picture(1, 2, 3), headers={"content-type": "image/toy"})
                codes.append(answer.status_code)
                versions.append(answer.json()["version"])

    asking = Thread(target=ask)
    asking.start()
    try:
        until(lambda: versions)
        said = registry.run("promote", "toy", "--from", "challenger", "--to", "champion")
        assert said == "toy: champion is version 2 now, and was version 1"
        until(lambda: versions[-1] == "2")
        assert registry.run("promote", "toy", "--from", "1") == "toy: champion is version 1 now, and was version 2"
        until(lambda: versions[-1] == "1")
    finally:
        ended.set()
        asking.join()
    assert set(codes) == {200}


def test_a_registry_that_is_gone_leaves_the_server_as_it_was(registry: Registry, server: Running) -> None:
    file = registry.folder / "mlflow.db"
    file.rename(file.with_suffix(".kept"))
    file.write_text("no database\n" * 100)
    try:
        why = f"MLflow cannot do this at sqlite:///{file} (MLFLOW_TRACKING_URI): file is not a database"
        said = f"toy stays as before: {_ADDRESS}: {why}"
        until(lambda: said in [line.get("message") for line in server.log])
        answer = server.post("/predict", content=picture(1, 2, 3), headers={"content-type": "image/toy"})
        assert answer.json()["version"] == "1"
    finally:
        file.with_suffix(".kept").replace(file)
    assert server.end() == 0
    assert not {"mlflow", "pandas", "sqlalchemy", "torch"} & server.loaded()
    before = sorted((registry.folder / "cache").rglob("*"))
    folder = registry.run("fetch", _ADDRESS)
    assert sorted((registry.folder / "cache").rglob("*")) == before  # nothing is left, and nothing fetched twice
    assert (Path(folder) / "model.onnx").read_bytes() == (registry.runs[0] / "export" / "model.onnx").read_bytes()


def test_mlflow_answers_with_the_model_and_has_its_figures(registry: Registry) -> None:
    code = f"""
import json, mlflow, numpy as np
model = mlflow.pyfunc.load_model("{_ADDRESS}")
said = model.predict({{"x": np.array([[1, 2, 3]], np.float32)}})["output"].tolist()
client = mlflow.MlflowClient()
run = client.get_run(client.get_model_version_by_alias("toy", "champion").run_id)
files = {{each.path for folder in ("", "report") for each in client.list_artifacts(run.info.run_id, folder or None)}}
print(json.dumps([said, run.data.metrics, run.data.params, sorted(files)]))
"""
    said, metrics, params, files = registry.python(code)
    assert said[0] == pytest.approx([0.0900, 0.2447, 0.6652], abs=1e-4)
    assert metrics == {"test/accuracy": 0.75, "test/loss": 0.5}
    assert params == {"lr": "0.1"}
    assert "report/metrics.json" in files
    stored = [path.name for path in registry.folder.rglob("mlartifacts/**/*")] + [
        path.name for path in registry.folder.rglob("mlruns/**/*")
    ]
    assert "model.onnx" in stored
    assert not [name for name in stored if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".joblib"))]


def test_files_that_are_not_the_registered_ones_are_refused(registry: Registry) -> None:
    with sqlite3.connect(registry.folder / "mlflow.db") as store:
        (text,) = store.execute("select value from model_version_tags where version = 2").fetchone()
        changed = json.dumps({name: "0" * 64 for name in json.loads(text)})
        store.execute("update model_version_tags set value = ? where version = 2", [changed])
    store.close()
    try:
        line = registry.run("fetch", "models:/toy/2", code=2)
        assert line.startswith("models:/toy/2: the files in the registry are not those that were registered")
    finally:
        with sqlite3.connect(registry.folder / "mlflow.db") as store:
            store.execute("update model_version_tags set value = ? where version = 2", [text])
        store.close()


def test_what_is_not_there_is_one_line(registry: Registry, tmp_path: Path) -> None:
    said = registry.run("promote", "toy", "--from", "challanger", "--to", "champion", code=2)
    assert said == "toy has no alias 'challanger'; did you mean 'challenger'?"
    assert "toy" in registry.run("promote", "toy", "--from", "9", code=2)
    assert "boats" in registry.run("serve", "models:/boats@champion", code=2)
    for option in ("--split=toy=1:100", "--shadow=toy=2"):
        said = registry.run("serve", _ADDRESS, option, code=2)
        assert said.startswith(f"--split and --shadow: of {_ADDRESS} one version is served")
    other = write_run(tmp_path / "run", 1.0)
    (other / "mlflow-id.txt").write_text("0" * 32)
    said = registry.run("register", other, "--name", "toy", code=2)
    assert said.startswith(f"{other / 'mlflow-id.txt'}: MLflow has no such run where MLFLOW_TRACKING_URI points")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("mysql://me:secret@host/store", "No module named 'MySQLdb'"),
        ("http://me:secret@127.0.0.1:1", "failed with exception"),
    ],
)
def test_an_address_that_does_not_do_is_one_line_without_its_password(
    address: str, why: str, registry: Registry
) -> None:
    line = registry.run("fetch", _ADDRESS, code=2, MLFLOW_TRACKING_URI=address)
    assert line.startswith(f"{_ADDRESS}: MLflow cannot do this at ")
    assert why in line
    assert "secret" not in line


def test_addresses_are_as_mlflow_writes_them() -> None:
    assert Address.of("models:/a.b-c@champion") == Address("a.b-c", "champion", None)
    assert Address.of("models:/toy/12") == Address("toy", None, "12")
    for text in ("models:/toy", "models:/toy@", "models:/toy/0", "models:/toy/x", "models:/a b@c", "models://toy@a"):
        with pytest.raises(UserError, match="write models:/NAME@ALIAS or models:/NAME/VERSION"):
            Address.of(text)
