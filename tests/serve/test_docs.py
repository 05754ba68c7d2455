"""Every command of docs/serving.md and of docs/registry.md, in its order, in one shell."""

import json
import os
import re
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.of_vision import write_images
from serving import assert_alike

DOCS = Path(__file__).resolve().parents[2] / "docs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ptapp_vision.serving") is None, reason="ptapp vision has no front for a server yet"),
]


def run_page(name: str, folder: Path) -> tuple[str, str, list[dict[str, Any]]]:
    """Runs the blocks of a page in a folder with a photo: what they print on stdout and stderr, and the answers.

    It trains on a small folder of images, which saves the time that the built-in data take.
    """
    more = f"--data {write_images(folder / 'bars')}"
    blocks = re.findall(r"```bash\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 2
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)).save(folder / "photo.png")
    script = "\n".join(block.replace("8000", str(port)) for block in blocks)
    script = script.replace("curl ", "curl --fail ")
    script = re.sub(r"^(ptapp serve .*) &$", rf"\1 --port {port} --drain 0 &", script, flags=re.MULTILINE)
    script = re.sub(r"^(ptapp vision train .*)$", rf"\1 --threads 1 {more}", script, flags=re.MULTILINE)
    script = re.sub(r"^(ptapp vision train (?!.*--log-to).*)$", r"\1 --log-to none", script, flags=re.MULTILINE)
    script = "set -e -o pipefail\ntrap 'kill $SERVER 2> /dev/null || true' EXIT\n" + script
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr, [json.loads(found) for found in re.findall(r'\{"model": .*?\]\}', done.stdout)]


@pytest.mark.usefixtures("index")
def test_every_command_of_serving_does_what_it_says(tmp_path: Path) -> None:
    out, err, answers = run_page("serving.md", tmp_path)
    assert [(answer["model"], answer["version"]) for answer in answers[:2]] == [("faces", "1")] * 2
    (predicted,) = re.findall(r'^\{"file": .*$', out, re.MULTILINE)
    assert_alike(answers[0]["answers"][0], json.loads(predicted))
    assert answers[0]["answers"][0].pop("file") == "photo.png"
    assert answers[0] == answers[1]
    assert len(answers) == 3
    assert "faces (image): version 1 answers 100 %" in err
    assert 'ptapp_inference_requests_total{code="200",model="faces",version="1"} 1.0' in out
    assert "layers in int8, static" in out
    assert (tmp_path / "shipped" / "Dockerfile").exists()


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed (the extra mlflow)")
def test_every_command_of_the_registry_does_what_it_says(tmp_path: Path) -> None:
    out, err, (answer,) = run_page("registry.md", tmp_path)
    assert (answer["model"], answer["version"]) == ("faces", "1")
    for version, alias in (("1", "champion"), ("2", "challenger")):
        assert re.search(rf"^faces: version {version} is .*, and {alias} points at it$", out, re.MULTILINE)
    moved = re.findall(r"^faces: champion is version (\d) now, and was version (\d)$", out, re.MULTILINE)
    assert moved == [("2", "1"), ("1", "2")]
    assert "faces (image): version 1 answers 90 %" in err
    for version, run in (("1", "first"), ("2", "second")):
        (export,) = (tmp_path / "runs" / "vision-fercnn").glob(f"*-{run}-*/export/model.onnx")
        assert (tmp_path / "models" / "faces" / version / "model.onnx").read_bytes() == export.read_bytes()
