"""An export that answers in a process of its own, which has no torch: what a server does with it."""

import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from contract.rows import command

_CODE = """
import json, pickle, sys
from pathlib import Path
from ptapp_core.errors import UserError
from ptapp_core.serve.session import open_model
folder, contents, options = pickle.load(sys.stdin.buffer)
try:
    model = open_model(Path(folder, "model.onnx"))
    samples = [model.front.read(content, f"sample {place}") for place, content in enumerate(contents)]
    said = model.front.answers(model.compute, samples, **options)
except UserError as error:
    said = str(error)
assert "torch" not in sys.modules
print(json.dumps(said, allow_nan=False))
"""


def export(run: Path) -> Path:
    """The folder of the ONNX export of a run."""
    domain = json.loads((run / "meta.json").read_text())["domain"]
    assert command([domain, "export", str(run), "--format", "onnx"]) == 0
    return run / "export"


def served(folder: Path, contents: Sequence[Any], **options: Any) -> Any:
    """The answers of an export to contents, or the message of the error that they end in."""
    given = pickle.dumps((str(folder), list(contents), options))
    done = subprocess.run([sys.executable, "-c", _CODE], input=given, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def assert_alike(answers: Any, expected: Any) -> None:
    """Raises AssertionError where two answers differ, numbers by more than 1e-5 of them."""
    if isinstance(expected, dict):
        assert answers.keys() == expected.keys()
        for name, value in expected.items():
            assert_alike(answers[name], value)
    elif isinstance(expected, list):
        assert len(answers) == len(expected)
        for one, other in zip(answers, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float):
        assert answers == pytest.approx(expected, rel=1e-5, abs=1e-5)
    else:
        assert answers == expected
