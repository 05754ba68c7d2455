"""`ptapp serve` finds models, exports a run first where it must, imports no torch, and refuses in one line."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ptapp_core.cli.main import main
from serve.running import install_toy, picture, serving, write_model

pytestmark = pytest.mark.slow


def write_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"domain": "toy"}))
    return folder


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in install_toy(tmp_path / "installed"):
        monkeypatch.syspath_prepend(place)


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main(["serve", *map(str, words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return str(line.removeprefix("ptapp: error: "))


def test_a_server_answers_without_importing_torch(tmp_path: Path) -> None:
    write_model(tmp_path / "toy")
    with serving(tmp_path, tmp_path / "toy") as server:
        answer = server.post("/predict", content=picture(1, 2, 3), headers={"content-type": "image/toy"}).json()
        assert answer["answers"][0]["class"] == "c"
        assert server.end() == 0
    loaded = server.loaded()
    assert {"onnxruntime", "starlette", "ptapp_toy"} <= loaded
    assert not {"torch", "torchvision", "pandas", "matplotlib", "onnx"} & loaded


def test_a_run_without_an_export_is_exported_first_and_that_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "my-run")
    with serving(tmp_path, run) as server:
        assert server.said[0] == f"{run} has no ONNX export yet: ptapp toy export {run}"
        assert "exported" in server.said
        assert server.get("/v2/models/my-run").json()["versions"] == ["1"]
    with serving(tmp_path, f"other={run}") as server:
        assert "exported" not in server.said
        assert server.get("/v2/models/other").status_code == 200


def test_another_form_of_an_export_is_served_by_its_file(tmp_path: Path) -> None:
    export = write_model(tmp_path / "my-run" / "export")
    small = export / "model.int8.onnx"
    write_model(tmp_path / "other", classes=list("xyz"))
    for name in ("model.onnx", "model.onnx.json"):
        (tmp_path / "other" / name).rename(small.with_name(name.replace("model", "model.int8")))
    with serving(tmp_path, export, f"small={small}") as server:
        for model, answer in (("my-run", "c"), ("small", "z")):
            headers = {"content-type": "image/toy"}
            said = server.post(f"/models/{model}/predict", content=picture(1, 2, 3), headers=headers).json()
            assert said["answers"][0]["class"] == answer


@pytest.mark.usefixtures("installed")
def test_a_run_that_cannot_be_exported_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    (run / "broken").touch()
    assert main(["serve", str(run)]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == f"ptapp: error: {run} could not be exported, for the reason above"


def test_models_have_the_names_of_their_folders_or_those_that_are_given(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "one" / "3")
    write_model(tmp_path / "models" / "two" / "1")
    write_model(tmp_path / "models" / "two" / "12")
    write_model(tmp_path / "run" / "export")
    write_model(tmp_path / "a=b")
    (tmp_path / "models" / "two" / "13").mkdir()  # nothing in it yet
    words = [tmp_path / "models", tmp_path / "run" / "export", f"plain={tmp_path / 'a=b'}"]
    with serving(tmp_path, *words) as server:
        found = {name: server.get(f"/v2/models/{name}").json()["versions"] for name in ("one", "two", "run", "plain")}
        assert found == {"one": ["3"], "two": ["1", "12"], "run": ["1"], "plain": ["1"]}
        assert "two (image): version 12 answers 100 %" in server.said
        several = server.post("/predict", content=b"")
        assert several.status_code == 404
        assert several.json()["error"] == "name a model: /models/NAME/predict; there are one, two, run, plain"


@pytest.mark.usefixtures("installed")
def test_what_cannot_be_served_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_model(tmp_path / "good")
    write_model(tmp_path / "several" / "a" / "1")
    write_model(tmp_path / "several" / "b" / "1")
    (tmp_path / "empty").mkdir()
    assert refused(capsys, tmp_path / "gone").endswith(
        "gone: no such folder; give a run, an export, its ONNX file or a folder of models"
    )
    assert "empty: neither a run, nor an export (model.onnx), nor a folder of models" in refused(
        capsys, tmp_path / "empty"
    )
    assert "holds several models by name: a, b; leave out x=" in refused(capsys, f"x={tmp_path / 'several'}")
    assert refused(capsys, f"x y={good}").endswith("letters, digits, '_', '-' and '.' alone, 100 at most")
    assert "there is a model 'x' already" in refused(capsys, f"x={good}", f"x={good}")
    assert refused(capsys, good, "--max-bytes", "many") == "--max-bytes many: write a number of bytes, such as 10M"
    odd = write_model(tmp_path / "ü b")
    assert "'ü b' cannot be the name of a model in an address; give NAME=PATH" in refused(capsys, odd)


@pytest.mark.usefixtures("installed")
def test_a_broken_export_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model(tmp_path / "m")
    card = folder / "model.onnx.json"
    about: dict[str, Any] = json.loads(card.read_text())
    card.write_text(json.dumps({**about, "domain": "nowhere"}))
    assert refused(capsys, folder) == f"{card}: an export of `ptapp nowhere`, which is not installed"
    card.write_text(json.dumps({"classes": []}))
    assert refused(capsys, folder).endswith("names no domain, as earlier exports did not; export the run again")
    card.write_text("{")
    assert refused(capsys, folder).startswith(f"{card} is broken: ")
    card.unlink()
    assert refused(capsys, folder) == f"{card}: no such file; it lies beside model.onnx in an export"
    card.write_text(json.dumps(about))
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:40])
    assert refused(capsys, folder).startswith(f"{folder / 'model.onnx'}: onnxruntime cannot open it (")


@pytest.mark.usefixtures("installed")
def test_a_domain_without_a_front_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "m")
    monkeypatch.setitem(sys.modules, "ptapp_toy", sys.modules["json"])  # a package without `serving`
    monkeypatch.delitem(sys.modules, "ptapp_toy.serving", raising=False)
    assert refused(capsys, folder) == "ptapp toy cannot be served: it has no ptapp_toy.serving"


@pytest.mark.usefixtures("installed")
def test_an_address_that_is_taken_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model(tmp_path / "m")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = refused(capsys, folder, "--port", str(port))
        assert found == f"--host 127.0.0.1 --port {port}: cannot listen there (Address already in use)"
    other = refused(capsys, folder, "--host", "192.0.2.1", "--port", "0")  # no address of this machine
    assert other.startswith("--host 192.0.2.1 --port 0: cannot listen there (")


def test_help_loads_neither_a_web_library_nor_a_runtime() -> None:
    code = "import sys\nfrom ptapp_core.cli.main import main\nmain(['serve', '--help'])\n"
    code += "print([m for m in ('torch', 'numpy', 'onnxruntime', 'starlette', 'uvicorn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
