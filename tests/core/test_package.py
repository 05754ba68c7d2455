"""`ptapp package` writes a folder that is complete, or refuses in one line and writes nothing."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from onnx import TensorProto

from core.exports import CARD, make_exported_run, write_card, write_graph
from ptapp_core.cli.main import main
from ptapp_core.errors import UserError
from ptapp_core.ship import triton, wheels
from ptapp_core.ship.requirements import pinned


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_exported_run(tmp_path / "runs" / "vision-fercnn" / "20260131-154500-demo-s0")


@pytest.fixture(autouse=True)
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building wheels takes seconds; `test_package_image.py` does."""
    monkeypatch.setattr(wheels, "build", lambda distributions, folder: folder.mkdir())


def package(run: Path, out: Path, *words: str, target: str = "docker") -> int:
    return main(["package", str(run), "--target", target, "--out", str(out), *words])


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    line = capsys.readouterr().err
    assert code == 2
    assert line.startswith("ptapp: error: ")
    assert line.count("\n") == 1
    return line


def test_the_model_lies_as_triton_has_it_with_all_that_the_server_reads(run: Path, tmp_path: Path) -> None:
    (run / "export" / "tokenizer.json").write_text("{}")
    (run / "export" / "model.pt2").write_text("another form")
    (run / "export" / ".part-model.onnx").write_text("half")
    assert package(run, tmp_path / "out") == 0
    version = tmp_path / "out" / "models" / "vision-fercnn" / "1"
    assert {path.name for path in version.iterdir()} == {"model.onnx", "model.onnx.json", "tokenizer.json"}
    assert (version / "model.onnx").read_bytes() == (run / "export" / "model.onnx").read_bytes()
    assert (tmp_path / "out" / "train.toml").read_bytes() == (run / "config.toml").read_bytes()


def test_the_image_is_named_after_the_model_and_the_run_unless_told_otherwise(run: Path, tmp_path: Path) -> None:
    assert package(run, tmp_path / "a") == 0
    assert "--tag vision-fercnn:20260131-154500-demo-s0 " in (tmp_path / "a" / "README.md").read_text()
    words = ["--name", "faces", "--image", "registry.example.org:5000/team/faces:2"]
    assert package(run, tmp_path / "b", *words) == 0
    assert "--tag registry.example.org:5000/team/faces:2 " in (tmp_path / "b" / "README.md").read_text()
    assert (tmp_path / "b" / "models" / "faces" / "1" / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "Faces"], "--name Faces: use lower-case letters"),
        (["--name", "-x"], "--name -x: use lower-case letters"),
        (["--name", "a" * 41], "at most 40"),
        (["--image", "faces"], "write REPOSITORY:TAG"),
        (["--image", "faces:"], "write REPOSITORY:TAG"),
        (["--image", "x:1\nRUN evil"], "write REPOSITORY:TAG"),
        (["--target", "dokcer"], "did you mean 'docker'?"),
        (["--target", "triton", "--image", "faces:2"], "--image does nothing here"),
    ],
)
def test_names_that_no_engine_takes_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert said in refused(capsys, package(run, tmp_path / "out", *words))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_gives_no_name_asks_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_exported_run(tmp_path / "2024" / "run")
    assert "give one with --name" in refused(capsys, package(run, tmp_path / "out"))


def test_a_run_without_an_export_is_refused_with_the_command(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "export" / "model.onnx").unlink()
    assert f"ptapp vision export {run} --format onnx" in refused(capsys, package(run, tmp_path / "out"))
    assert "not a run directory" in refused(capsys, package(tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_export_of_a_checkpoint_that_is_passed_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for checkpoint in ("step-00000020", "step-00000040"):  # the best, and the last
        write_card(run, {**CARD, "checkpoint": checkpoint})
        assert package(run, tmp_path / checkpoint) == 0
    capsys.readouterr()
    write_card(run, {**CARD, "checkpoint": "step-00000010"})
    line = refused(capsys, package(run, tmp_path / "out"))
    assert "step-00000010, which is neither the best nor the last" in line


def test_a_broken_card_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in ("{", "[]"):
        (run / "export" / "model.onnx.json").write_text(content)
        assert "model.onnx.json is broken" in refused(capsys, package(run, tmp_path / "out"))


def test_a_folder_that_holds_something_is_left_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert "exists already" in refused(capsys, package(run, out))
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    assert package(run, out) == 0
    assert (out / "Dockerfile").is_file()


def test_what_fails_on_the_way_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(distributions: list[str], folder: Path) -> None:
        raise UserError("no wheels today")

    monkeypatch.setattr(wheels, "build", fail)
    folder = tmp_path / "below"
    assert "no wheels today" in refused(capsys, package(run, folder / "out"))
    assert not list(folder.iterdir())


def test_a_domain_that_has_no_server_is_packaged_for_triton_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_exported_run(tmp_path / "tables" / "run", domain="tabular")
    assert "ptapp tabular cannot be served" in refused(capsys, package(run, tmp_path / "out"))
    assert package(run, tmp_path / "out", target="triton") == 0
    with pytest.raises(UserError, match="ptapp-tabular cannot be served: it has no extra 'serve'"):
        pinned(["ptapp-tabular"])


def test_what_the_server_would_not_open_is_no_image(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_card(run, {name: value for name, value in CARD.items() if name != "domain"})
    assert "names no domain" in refused(capsys, package(run, tmp_path / "out"))
    write_card(run, CARD)
    (run / "export" / "model.onnx").write_bytes(b"half a model")
    assert "cannot open it" in refused(capsys, package(run, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_packaging_imports_no_torch(run: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from ptapp_core.cli.main import main\n"
        "main(['package', sys.argv[1], '--target', 'triton', '--out', sys.argv[2]])\n"
        "sys.exit(int('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run), str(tmp_path / "out")], capture_output=True)
    assert done.returncode == 0
    assert (tmp_path / "out" / "README.md").is_file()


def test_requirements_are_what_serving_needs_as_it_is_installed() -> None:
    lines = pinned(["ptapp-core", "ptapp-vision"])
    found = dict(line.split("==") for line in lines)
    assert {"starlette", "uvicorn", "onnxruntime", "pillow", "numpy", "pydantic", "typer"} <= found.keys()
    assert {"anyio", "h11", "pydantic-core"} <= found.keys()  # what these need
    assert not {"torch", "torchvision", "tensorboard", "matplotlib", "onnx", "colorama"} & found.keys()
    assert list(found) == sorted(found)
    assert found["starlette"] == metadata.version("starlette")


def test_libraries_that_some_models_need_are_in_their_images_alone() -> None:
    usual, chats = (pinned(["ptapp-core", "ptapp-nlp"], more) for more in ((), ["chat"]))
    assert set(usual) < set(chats)
    added = {line.partition("==")[0] for line in set(chats) - set(usual)}
    assert {"jinja2", "transformers"} <= added
    assert "torch" not in added


@pytest.mark.parametrize("extras", ["chat", [1], {}])
def test_extras_of_another_form_are_one_line(
    extras: Any, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_card(run, {**CARD, "extras": extras})
    assert "`extras` is no list of names" in refused(capsys, package(run, tmp_path / "out"))


def test_libraries_that_are_missing_are_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = {"serve": "onnxruntime"}
    monkeypatch.setattr("ptapp_core.cli.main.missing_requirement", lambda _, extra=None: absent.get(extra))
    said = refused(capsys, package(run, tmp_path / "out"))
    assert "ptapp package needs onnxruntime, which is not installed: pip install" in said


def test_a_requirement_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without_h11(name: str) -> str:
        if name == "h11":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without_h11)
    with pytest.raises(UserError, match="a server needs h11, which is not installed here: pip install"):
        pinned(["ptapp-core"])


def model_config() -> Any:
    """The part of Triton's model_config.proto that is written, with its numbers of fields and types."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    types = file.enum_type.add(name="DataType")
    names = ["INVALID", "BOOL", *(f"{sign}INT{bits}" for sign in ("U", "") for bits in (8, 16, 32, 64))]
    names += ["FP16", "FP32", "FP64", "STRING", "BF16"]
    for number, name in enumerate(names):
        types.value.add(name=f"TYPE_{name}", number=number)
    field = descriptor_pb2.FieldDescriptorProto
    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED

    def message(name: str, *fields: tuple[str, int, Any, Any, str]) -> None:
        made = file.message_type.add(name=name)
        for key, number, label, kind, type_name in fields:
            made.field.add(name=key, number=number, label=label, type=kind, type_name=type_name or None)

    message("ModelTensorReshape", ("shape", 1, many, field.TYPE_INT64, ""))
    for name, dims in (("ModelInput", 4), ("ModelOutput", 3)):
        message(
            name,
            ("name", 1, one, field.TYPE_STRING, ""),
            ("data_type", 2, one, field.TYPE_ENUM, ".inference.DataType"),
            ("dims", dims, many, field.TYPE_INT64, ""),
            ("reshape", 5, one, field.TYPE_MESSAGE, ".inference.ModelTensorReshape"),
        )
    message("ModelDynamicBatching", ("max_queue_delay_microseconds", 2, one, field.TYPE_UINT64, ""))
    message(
        "ModelConfig",
        ("name", 1, one, field.TYPE_STRING, ""),
        ("backend", 17, one, field.TYPE_STRING, ""),
        ("max_batch_size", 4, one, field.TYPE_INT32, ""),
        ("input", 5, many, field.TYPE_MESSAGE, ".inference.ModelInput"),
        ("output", 6, many, field.TYPE_MESSAGE, ".inference.ModelOutput"),
        ("dynamic_batching", 11, one, field.TYPE_MESSAGE, ".inference.ModelDynamicBatching"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


ModelConfig = model_config()
CLASSES = [("output", TensorProto.FLOAT, ["batch", 3])]
DTYPES = {"FP32": "FLOAT", "FP64": "DOUBLE", "FP16": "FLOAT16", "BF16": "BFLOAT16"}


def assert_fits(config: str, model: Path) -> Any:
    """Reads a config.pbtxt as Triton does, and compares it with the graph of the model, which is returned parsed."""
    found = text_format.Parse(config, ModelConfig())
    graph = onnx.load(str(model)).graph
    batched = found.max_batch_size > 0
    for ports, values in ((found.input, graph.input), (found.output, graph.output)):
        assert [port.name for port in ports] == [value.name for value in values]
        for port, value in zip(ports, values, strict=True):
            tensor = value.type.tensor_type
            short = type(port).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[port.data_type].name
            short = short.removeprefix("TYPE_")
            assert onnx.TensorProto.DataType.Name(tensor.elem_type) == DTYPES.get(short, short)
            sizes = [each.dim_value if each.HasField("dim_value") else -1 for each in tensor.shape.dim]
            if port.HasField("reshape"):  # what Triton shows as one number has no dimension in the model
                assert list(port.dims) == [1]
            seen_by_model = port.reshape.shape if port.HasField("reshape") else port.dims
            assert port.dims  # Triton wants at least one
            assert ([-1] if batched else []) + list(seen_by_model) == sizes
    return found


def test_triton_batches_where_the_batch_is_free(run: Path, tmp_path: Path) -> None:
    assert package(run, tmp_path / "out", target="triton") == 0
    model = tmp_path / "out" / "models" / "vision-fercnn"
    found = assert_fits((model / "config.pbtxt").read_text(), model / "1" / "model.onnx")
    assert (found.name, found.backend, found.max_batch_size) == ("vision-fercnn", "onnxruntime", triton.LARGEST_BATCH)
    assert found.HasField("dynamic_batching")
    assert list(found.input[0].dims) == [1, 48, 48]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([("x", TensorProto.FLOAT, [1, 4])], [("y", TensorProto.FLOAT, [1, 4])]),
        ([("x", TensorProto.FLOAT, ["n", 4]), ("k", TensorProto.INT64, [1])], [("y", TensorProto.FLOAT, ["n", 4])]),
        ([("x", TensorProto.INT16, ["n", "length"])], [("y", TensorProto.INT16, [])]),
    ],
    ids=["fixed", "one input fixed", "scalar output"],
)
def test_triton_does_not_batch_where_it_is_not(tmp_path: Path, inputs: Any, outputs: Any) -> None:
    model = write_graph(tmp_path / "model.onnx", inputs, outputs)
    found = assert_fits(triton.config(model, "job"), model)
    assert found.max_batch_size == 0
    assert not found.HasField("dynamic_batching")


def test_free_lengths_and_every_type_are_told_to_triton(tmp_path: Path) -> None:
    kinds = [TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE]
    inputs = [(f"x{kind}", kind, ["batch", "length", 3]) for kind in kinds]
    model = write_graph(tmp_path / "model.onnx", inputs, CLASSES)
    found = assert_fits(triton.config(model, "job"), model)
    assert all(list(port.dims) == [-1, 3] for port in found.input)
    write_graph(model, [("x", TensorProto.COMPLEX64, ["batch"])], CLASSES)
    with pytest.raises(UserError, match="no type for 'x', which is COMPLEX64"):
        triton.config(model, "job")


def test_one_number_a_sample_is_a_batch_of_ones_to_triton(tmp_path: Path) -> None:
    inputs = [("observation", TensorProto.FLOAT, ["batch", 4])]
    model = write_graph(tmp_path / "model.onnx", inputs, [("action", TensorProto.INT64, ["batch"])])
    found = assert_fits(triton.config(model, "job"), model)
    assert found.max_batch_size > 0
    assert found.output[0].HasField("reshape")


def test_the_card_beside_the_model_is_the_exports_own(run: Path, tmp_path: Path) -> None:
    assert package(run, tmp_path / "out", target="triton") == 0
    card = json.loads((tmp_path / "out" / "models" / "vision-fercnn" / "1" / "model.onnx.json").read_text())
    assert card == json.loads((run / "export" / "model.onnx.json").read_text())
