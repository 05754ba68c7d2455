"""What `open_model` makes of an export folder, and which folders it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from ptapp_core.errors import UserError
from ptapp_core.serve.session import open_model

CARD: dict[str, Any] = {"domain": "vision", "kind": "classify", "classes": ["a", "b"]}
CARD |= {"size": 1, "channels": 1, "span": None}


def write_export(folder: Path, card: Any, content: bytes | None = None) -> Path:
    """An export whose model gives half of what it takes, float32 (batch, 2)."""
    shape = ["batch", 2]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)
    half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["input", "half"], ["output"])], "half", [given], [output], [half]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString() if content is None else content)
    (folder / "model.onnx.json").write_text(card if isinstance(card, str) else json.dumps(card))
    return folder


def test_a_model_computes_and_has_its_card_and_its_front(tmp_path: Path) -> None:
    model = open_model(write_export(tmp_path, CARD) / "model.onnx")
    given = np.array([[1.0, 3.0], [0.0, -2.0]], np.float32)
    np.testing.assert_array_equal(model.compute({"input": given}), given / 2)
    assert model.about == CARD
    assert model.front.takes == "image"


@pytest.mark.parametrize(
    ("card", "why"),
    [
        ({name: CARD[name] for name in CARD if name != "domain"}, "model.onnx.json names no domain.*export the run ag"),
        ({**CARD, "domain": "weather"}, "an export of `ptapp weather`, which is not installed"),
        ({**CARD, "domain": "tabular"}, "ptapp tabular cannot be served: it has no ptapp_tabular.serving"),
        ("{", "model.onnx.json is broken"),
        ([], "model.onnx.json names no domain"),
        ({**CARD, "size": -1}, "model.onnx.json: size: must be greater"),
    ],
)
def test_a_card_that_does_not_do_is_refused(card: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=why) as error:
        open_model(write_export(tmp_path, card) / "model.onnx")
    assert "\n" not in str(error.value)


def test_a_form_for_another_provider_is_refused(tmp_path: Path) -> None:
    folder = write_export(tmp_path, {**CARD, "provider": "CUDAExecutionProvider"})
    with pytest.raises(UserError, match="was made for CUDAExecutionProvider, and a server computes on the processor"):
        open_model(folder / "model.onnx")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.onnx\.json: no such file"):
        open_model(tmp_path / "model.onnx")
    write_export(tmp_path, CARD, b"no model")
    with pytest.raises(UserError, match=r"model\.onnx: onnxruntime cannot open it"):
        open_model(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(UserError, match=r"model\.onnx: no such file; export the run again"):
        open_model(tmp_path / "model.onnx")


def test_values_that_the_model_cannot_compute_are_refused(tmp_path: Path) -> None:
    model = open_model(write_export(tmp_path, CARD) / "model.onnx")
    with pytest.raises(UserError, match="cannot compute an answer from these values"):
        model.compute({"input": np.zeros((1, 3), np.float32)})
