"""What a package says is done: its Dockerfile in a folder and an environment of their own, its workflow step by step.

There is no Docker here: COPY is a copy, RUN and ENTRYPOINT are run with the programs of a fresh environment.
"""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import util
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import yaml

from contract import of_audio, of_nlp, of_vision
from core.exports import make_exported_run
from core.test_package import assert_fits
from core.test_package_files import instructions
from ptapp_core.cli.main import main
from ptapp_core.ship.package import TEMPLATES
from saved.test_saved import DOMAINS, copied
from serve.running import HERE, picture, write_model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("index")]


def exported(domain: str, folder: Path) -> Path:
    """A run of an earlier version with its data, exported."""
    of_vision.write_images(folder / "bars", 5)
    of_audio.write_sounds(folder / "tones", 5)
    of_nlp.write_texts(folder / "texts", 20)
    run = copied(domain, folder)
    assert main([domain, "export", str(run), "--format", "onnx"]) == 0
    return run


def do(told: list[tuple[str, str]], package: Path, app: Path, path: str) -> None:
    """Does what a Dockerfile says, up to the image: COPY and RUN."""
    for word, what in told:
        if word == "COPY":
            source, target = what.split()[-2:]
            copy = shutil.copytree if (package / source).is_dir() else shutil.copyfile
            copy(package / source, app / source if target == "./" else app / target)
        if word == "RUN":
            done = subprocess.run(
                ["bash", "-e", "-c", what], cwd=app, env={**os.environ, "PATH": path}, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr


PIP = """#!{python}
import os, sys, zipfile
from importlib.metadata import distribution
from pathlib import Path
sys.path[:] = {path}
site, names = Path({site!r}), sys.argv[4:]
wheels = names[0].endswith(".whl")
for line in [] if wheels else Path(names[1]).read_text().splitlines():
    name, version = line.split("==")
    assert distribution(name).version == version
    for file in distribution(name).files:
        if ".." not in file.parts:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(file.locate(), site / file)
for name in names if wheels else []:
    zipfile.ZipFile(name).extractall(site)
program = Path(sys.argv[0]).with_name("ptapp")
program.write_text("#!{environment}/bin/python\\nfrom ptapp_core.cli.main import main\\nraise SystemExit(main())\\n")
program.chmod(0o755)
"""


def write_pip(environment: Path) -> None:
    """A `pip` that links what is installed here, which has the versions that a package names, and unpacks wheels."""
    (site,) = environment.glob("lib/*/site-packages")
    script = PIP.format(python=sys.executable, path=sys.path, site=str(site), environment=environment)
    (environment / "bin" / "pip").write_text(script)
    (environment / "bin" / "pip").chmod(0o755)


def built(run: Path, folder: Path, *, download: bool = True) -> tuple[list[str], Path, str]:
    """What the image of a run would be: its entry point, its folder, and the PATH of its environment."""
    package, app, environment = (folder / name for name in ("package", "app", "environment"))
    words = ["--target", "kubernetes", "--out", str(package), "--name", "m"]
    assert main(["package", str(run), *words]) == 0
    assert_fits((package / "models/m/config.pbtxt").read_text(), package / "models/m/1/model.onnx")
    app.mkdir()
    venv.create(environment, with_pip=download)
    if not download:
        write_pip(environment)
    path = f"{environment / 'bin'}:/usr/bin:/bin"
    told = instructions(package / "Dockerfile")
    do(told, package, app, path)
    (entry,) = (json.loads(what) for word, what in told if word == "ENTRYPOINT")
    return [str(environment / "bin" / entry[0]), *entry[1:]], app, path


@contextmanager
def running(command: list[str], app: Path, path: str) -> Iterator[str]:
    """The address of the entry point, once it is ready; it must end in good order."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    changed = {"0.0.0.0": "127.0.0.1", "8000": port, "10": "0"}
    words = [changed.get(word, word) for word in command]
    server = subprocess.Popen(words, cwd=app, env={**os.environ, "PATH": path}, stderr=subprocess.PIPE, text=True)
    address = f"http://127.0.0.1:{port}"
    try:
        while server.poll() is None:
            try:
                urllib.request.urlopen(f"{address}/v2/health/ready", timeout=10).close()
                break
            except URLError:
                time.sleep(0.2)
        assert server.poll() is None, server.communicate()[1]
        yield address
        server.send_signal(signal.SIGTERM)
        errors = server.communicate(timeout=60)[1]
        assert server.returncode == 0, errors
    finally:
        server.kill()


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_image_of_a_domain_has_what_serving_needs_and_no_torch(domain: str, tmp_path: Path) -> None:
    if util.find_spec(f"ptapp_{domain}.serving") is None:
        pytest.skip(f"ptapp {domain} cannot be served yet")
    command, app, path = built(exported(domain, tmp_path), tmp_path, download=domain == "vision")
    assert subprocess.run([command[0], "--version"], capture_output=True, cwd=app).returncode == 0
    python = Path(command[0]).with_name("python")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, cwd=app).returncode == 1
    with running(command, app, path) as address, urllib.request.urlopen(f"{address}/v2/models/m") as answer:
        assert json.load(answer)["name"] == "m"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An exported run of the toy domain, which is installed."""
    project, site, run = tmp_path / "toy", tmp_path / "site", tmp_path / "runs" / "toy" / "run"
    shutil.copytree(HERE / "ptapp_toy", project / "ptapp_toy")
    (project / "pyproject.toml").write_text(TOY)
    words = ["install", "--quiet", "--no-deps", "--target", str(site), str(project)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    monkeypatch.syspath_prepend(site)
    make_exported_run(run, domain="toy")
    write_model(run / "export", input="three numbers", output="probabilities", checkpoint="step-00000040")
    return run


TOY = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "ptapp-toy"
version = "0"
dependencies = ["ptapp-core"]
optional-dependencies.serve = ["numpy"]
entry-points."ptapp.domains".toy = "ptapp_toy.cli:app"
"""


def test_the_image_answers(toy: Path, tmp_path: Path) -> None:
    with running(*built(toy, tmp_path)) as address:
        request = urllib.request.Request(f"{address}/predict", picture(1, 2, 5), {"Content-Type": "image/toy"})
        with urllib.request.urlopen(request) as answer:
            (said,) = json.load(answer)["answers"]
        assert said["class"] == "c"
        with urllib.request.urlopen(f"{address}/metrics") as answer:
            assert b'ptapp_inference_requests_total{code="200",model="m",version="1"} 1.0' in answer.read()


GH = '''#!/usr/bin/env python3
"""Releases as `gh release` keeps them, in a folder."""
import json, os, shutil, sys
from pathlib import Path
store = Path(os.environ["STORE"])
match sys.argv[1:]:
    case ["release", "list", "--json", "tagName"]:
        print(json.dumps([{"tagName": folder.name} for folder in store.iterdir()]))
    case ["release", "create", tag, *_]:
        (store / tag).mkdir()
    case ["release", "download", tag, "--pattern", name]:
        shutil.copyfile(store / tag / name, name)
    case ["release", "upload", tag, name, "--clobber"]:
        shutil.copyfile(name, store / tag / name)
    case other:
        sys.exit(f"gh: {other}")
'''


def stubs(folder: Path) -> Path:
    """Programs of GitHub's machines that do not belong to the test: they do nothing, but for the releases of gh."""
    folder.mkdir()
    for name in ("docker", "curl", "pip"):
        (folder / name).write_text("#!/bin/sh\n")
    (folder / "gh").write_text(GH)
    for program in folder.iterdir():
        program.chmod(0o755)
    return folder


def follow(folder: Path, environment: dict[str, str]) -> str | None:
    """Does the steps of the workflow as GitHub does; returns the name of the step that failed."""
    job: Any = yaml.safe_load((folder / ".github/workflows/model.yml").read_text())["jobs"]["model"]
    file = folder / "github.env"
    environment = {**environment, "GITHUB_ENV": str(file), "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    for step in job["steps"]:
        needed = str(step.get("if", "")).removeprefix("env.")
        if "run" not in step or (needed and not environment.get(needed)):
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]], cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            return str(step["name"])
        lines = file.read_text().splitlines() if file.exists() else []
        environment |= dict(line.split("=", 1) for line in lines)
    return None


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_workflow_crowns_the_first_model_and_keeps_it_against_its_equal(tmp_path: Path) -> None:
    run = exported("vision", tmp_path)
    store, folder = tmp_path / "store", tmp_path / "package"
    store.mkdir()
    assert main(["package", str(run), "--target", "docker", "--out", str(folder), "--name", "m"]) == 0
    shutil.copytree(folder, tmp_path / "again")
    path = f"{stubs(tmp_path / 'bin')}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "STORE": str(store), "OMP_NUM_THREADS": "1"}
    registry = tmp_path / "mlflow.db"
    known = {"MLFLOW_TRACKING_URI": f"sqlite:///{registry}"} if util.find_spec("mlflow") else {}
    assert follow(folder, {**environment, **known}) is None
    champion = (store / "champion" / "champion.tar.gz").read_bytes()
    assert (folder / "package" / "models" / "m" / "1" / "model.onnx").is_file()
    assert follow(tmp_path / "again", environment) == "Gate"
    assert "mean score A" in (tmp_path / "again" / "summary.md").read_text()
    assert (store / "champion" / "champion.tar.gz").read_bytes() == champion
    if known:
        with closing(sqlite3.connect(registry)) as asked:
            found = asked.execute("select name, alias, version from registered_model_aliases order by alias").fetchall()
        assert found == [("m", "challenger", 1), ("m", "champion", 1)]


def test_every_command_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "shipping.md"
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    small = f"--data {of_vision.write_images(tmp_path / 'bars')} --name first --log-to none --threads 1"
    script = "set -e\n" + "".join(blocks).replace("--name first", small)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in tmp_path.iterdir()} - {"runs", "bars"}
    out = dict(re.findall(r"--target (\w+) --out (\w+)", script))
    assert list(out) == [*TEMPLATES, "slurm", "kubeflow"]
    assert made == set(out.values())
    assert all(any((tmp_path / out[name] / "models" / "faces" / "1").iterdir()) for name in TEMPLATES)
