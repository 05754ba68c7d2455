"""Every command of docs/serving.md, in its order, in one shell."""

import json
import os
import re
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving import assert_alike

PAGE = Path(__file__).resolve().parents[2] / "docs" / "serving.md"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ptapp_vision.serving") is None, reason="ptapp vision has no front for a server yet")
def test_every_command_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)).save(tmp_path / "photo.png")
    script = "\n".join(block.replace("8000", str(port)) for block in blocks)
    script = script.replace("curl ", "curl --fail ")
    script = re.sub(r"^(ptapp serve .*) &$", rf"\1 --port {port} --drain 0 &", script, flags=re.MULTILINE)
    script = re.sub(r"^(ptapp vision train .*)$", r"\1 --log-to none --threads 1", script, flags=re.MULTILINE)
    script = "set -e -o pipefail\ntrap 'kill $SERVER 2> /dev/null || true' EXIT\n" + script
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(found) for found in re.findall(r'\{"model": .*?\]\}', done.stdout)]
    assert [(answer["model"], answer["version"]) for answer in answers[:2]] == [("faces", "1")] * 2
    (predicted,) = re.findall(r'^\{"file": .*$', done.stdout, re.MULTILINE)
    assert_alike(answers[0]["answers"][0], json.loads(predicted))
    assert answers[0]["answers"][0].pop("file") == "photo.png"
    assert answers[0] == answers[1]
    assert len(answers) == 3
    assert "faces (image): version 1 answers 100 %" in done.stderr
    assert 'ptapp_inference_requests_total{code="200",model="faces",version="1"} 1.0' in done.stdout
