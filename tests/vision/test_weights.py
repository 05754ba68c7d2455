"""Weights to start from: the pixels that they expect, the names that they come under, and the parts that stay."""

import copy
import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from contract.of_vision import write_images
from contract.rows import command, last_checkpoint, only_run
from ptapp_core.data.split import Samples
from ptapp_core.domain import train_once
from ptapp_core.errors import UserError
from ptapp_core.fit import forward_backward
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.loop.update import Update
from ptapp_core.machine.runtime import Runtime
from ptapp_vision.config import TrainVision
from ptapp_vision.data.splits import Images, Splits
from ptapp_vision.domain import VISION
from ptapp_vision.models import Weights, build, read_weights, usual_size
from ptapp_vision.models.torchvision_models import TorchvisionClassifier, names, published_statistics
from ptapp_vision.models.whole import Pixels
from ptapp_vision.train import build_model

pytestmark = pytest.mark.slow


def pixels(channels: int, size: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)


def data(channels: int, size: int, classes: int = 5) -> Splits:
    names = [str(row) for row in range(2 * classes)]
    part = Images(pixels(channels, size, 2 * classes), torch.arange(2 * classes) % classes, Samples(names, names))
    return Splits(part, part, part, tuple(map(str, range(classes))), "")


def as_published(name: str, images: Tensor) -> Tensor:
    """What torchvision's network computes with, of uint8 pixels (N, 3, H, W), where it has published weights."""
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    x = normalize(images / 255, transforms.mean, transforms.std)
    network = inspect.signature(torchvision.models.get_model_builder(name)).return_annotation
    if hasattr(network, "_transform_input"):  # which torchvision switches on with the weights
        x = network._transform_input(SimpleNamespace(transform_input=True), x)
    return x


class Seen(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pixels_of_published_weights_are_torchvisions_for_every_classifier(channels: int) -> None:
    images = pixels(channels, 8)
    for name in names():
        model = Pixels(Seen(), *published_statistics(name))  # type: ignore[arg-type]
        expected = as_published(name, images.expand(-1, 3, -1, -1))
        torch.testing.assert_close(model.normalise(images), expected, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [
        ("googlenet", 32, 3),
        ("inception_v3", 75, 1),
        ("mnasnet0_5", 32, 3),
        ("squeezenet1_1", 32, 1),
        ("squeezenet1_1", 32, 3),
        ("regnet_y_400mf", 32, 1),
    ],
)
def test_torchvisions_weights_give_its_own_logits_of_the_same_pixels(
    name: str, size: int, channels: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    centred = name in ("googlenet", "inception_v3")
    options = {"transform_input": True, "aux_logits": True, "init_weights": False} if centred else {}
    theirs = torchvision.models.get_model(name, weights=None, num_classes=5, **options).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    images = pixels(channels, size)
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    with torch.no_grad():
        expected = theirs(normalize(images.expand(-1, 3, -1, -1) / 255, transforms.mean, transforms.std))
    job = TrainVision(model=f"torchvision/{name}", weights=tmp_path / "w.pt")
    model, card = build_model(job, data(channels, size), read_weights(tmp_path / "w.pt"))
    assert (card.channels, card.network_channels) == (channels, 3)
    with torch.no_grad():
        got = model.eval()(images)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * expected.std().item())


def test_a_size_that_a_network_cannot_take_is_one_line() -> None:
    assert TorchvisionClassifier("squeezenet1_0", classes=2, channels=1, size=32).training
    with pytest.raises(UserError, match=r"torchvision/alexnet cannot take 32x32 images \(.*\); choose another --size"):
        TorchvisionClassifier("alexnet", classes=2, size=32)
    with pytest.raises(UserError, match=r"torchvision/vit_b_16 cannot take 40x40 images \(.*\); choose another --size"):
        TorchvisionClassifier("vit_b_16", classes=2, size=40)


WRAPPERS = st.lists(st.sampled_from(["module.", "_orig_mod.", "model.", "network.", "net."]), max_size=3)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(before=WRAPPERS, inside=st.booleans(), averaged=st.booleans(), kind=st.sampled_from(["safetensors", "pt"]))
def test_what_wraps_a_network_is_left_out_of_its_names_and_said(
    before: list[str], inside: bool, averaged: bool, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("w") / f"w.{kind}"
    torch.manual_seed(0)
    saved = build("fercnn", classes=3, channels=1, size=16, widths=(4,)).state_dict()
    wrapped = {
        "".join(before) + (name.replace("stages.", "stages._orig_mod.") if inside else name): value
        for name, value in saved.items()
    }
    if averaged and kind == "pt":
        wrapped["n_averaged"] = torch.tensor(3)
    save_file(wrapped, file) if kind == "safetensors" else torch.save(wrapped, file)
    weights = read_weights(file)
    parts = set(before) | ({"_orig_mod."} if inside else set())
    assert {f"{part}." for part in weights.left_out.split(".") if part} == parts
    assert (str(weights) == f"--weights {file}, without {weights.left_out} in its names") == bool(parts)
    assert weights.state.keys() == saved.keys()
    model = build("fercnn", classes=3, channels=1, size=16, widths=(4,), weights=weights)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in saved.items())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("weights")
    words = ["--data", str(write_images(folder / "bars", 20)), "--run-dir", str(folder / "runs"), "--steps", "2"]
    assert command(["vision", "train", *words, "--threads", "1", "--log-to", "none", "--split", "exact"]) == 0
    return only_run(folder)


def test_a_run_a_checkpoint_and_its_file_are_weights_for_the_next_run(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best, last = trained / "checkpoints" / "best", last_checkpoint(trained)
    images = pixels(1, 16)
    expected = load_file(best / "model.safetensors")
    for path in (trained, best, last, last / "model.safetensors"):
        model, _ = build_model(TrainVision(weights=path), data(1, 16, 3), read_weights(path))
        for name, value in model.state_dict().items():
            assert torch.equal(value, expected[name]), name  # its pixel statistics among them
    colour, card = build_model(TrainVision(weights=trained), data(1, 16, 4), read_weights(trained))
    assert torch.equal(colour.network.stages(colour.normalise(images)), model.network.stages(model.normalise(images)))  # type: ignore[operator]
    assert card.network_channels == 1
    with pytest.raises(UserError, match="was trained on grey images, and the data has colour: give --channels grey"):
        build_model(TrainVision(weights=trained), data(3, 16, 3), read_weights(trained))

    bars = trained.parents[2] / "bars"
    words = ["--data", str(bars), "--run-dir", str(tmp_path / "runs"), "--steps", "1", "--threads", "1"]
    capsys.readouterr()
    assert command(["vision", "train", *words, "--log-to", "none", "--split", "exact", "--weights", str(trained)]) == 0
    assert f"weights: --weights {trained}, without network. in its names" in capsys.readouterr().out


def test_grey_images_are_shown_to_weights_of_colour_images_as_colour(tmp_path: Path) -> None:
    options = {"classes": 3, "channels": 3, "size": 16}
    torch.manual_seed(0)
    colour = Pixels(build("fercnn", **options), torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.1])).eval()  # type: ignore[arg-type]
    save_file(colour.state_dict(), tmp_path / "model.safetensors")
    images = pixels(1, 16)
    model, card = build_model(TrainVision(), data(1, 16, 3), read_weights(tmp_path))
    assert (card.channels, card.network_channels) == (1, 3)
    torch.testing.assert_close(model.eval()(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-5, atol=1e-6)


def test_images_take_the_size_of_torchvisions_weights(trained: Path) -> None:
    for name, size in (("resnet18", 224), ("inception_v3", 299), ("vit_h_14", 518), ("efficientnet_b7", 600)):
        assert usual_size(f"torchvision/{name}", None, True) == size
        assert usual_size(f"torchvision/{name}", Weights("", {}), False) == size
        assert usual_size(f"torchvision/{name}", None, False) is None
    assert usual_size("torchvision/resnet18", read_weights(trained), False) == 16
    assert usual_size("fercnn", read_weights(trained), False) is None


def test_weights_that_cannot_be_used_are_one_line(trained: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "w.pt")
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "w.pt", "a holds values that are not finite numbers"),
        (tmp_path / "empty", "a folder that is neither a run nor a checkpoint"),
        (tmp_path / "gone", "no such file"),
    ):
        with pytest.raises(UserError, match=f"--weights {path}: {message}"):
            read_weights(path)
    own = {
        f"network.{name}": value for name, value in build("fercnn", classes=3, channels=1, size=16).state_dict().items()
    }
    save_file({**own, "means": torch.zeros(1), "std2": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"other.safetensors: weights of another model: "):
        build_model(TrainVision(), data(1, 16, 3), read_weights(tmp_path / "other.safetensors"))
    with pytest.raises(UserError, match=rf"--weights {trained}: weights of another model: lacks"):
        build("resnet18", classes=3, channels=1, size=16, weights=read_weights(trained))


SMALL = ["fercnn", "resnet18", "autoencoder", "torchvision/shufflenet_v2_x0_5", "torchvision/mobilenet_v3_small"]


@settings(derandomize=True, deadline=None, max_examples=5)
@given(chosen=st.data())
def test_a_frozen_part_is_the_same_function_after_training(chosen: st.DataObject) -> None:
    name = chosen.draw(st.sampled_from(SMALL))
    torch.manual_seed(0)
    job = TrainVision(model=name, loss="mse" if name == "autoencoder" else "cross-entropy")
    images = data(1, 32, 4)
    model, _ = build_model(job, images, None)
    parts = [key for key, part in model.network.named_modules() if key and list(part.parameters())]
    frozen = chosen.draw(st.lists(st.sampled_from(parts), min_size=1, max_size=4, unique=True))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    runtime = Runtime("cpu", "fp32")
    held = tuple(f"network.{part}." for part in frozen)
    assume(not all(key.startswith(held) for key, _ in model.named_parameters()))  # which is refused
    optimizer = build_optimizer(model, "sgd", lr=0.1, freeze=frozen)
    task = model.kind.task(model, model.kind.loss_of(job, images.train.labels, torch.device("cpu")))
    update = Update(optimizer, runtime)
    task.train()
    copied = copy.deepcopy(task).train()  # as averaging does
    for part in frozen:
        assert not any(inner.training for inner in model.network.get_submodule(part).modules())
        assert not any(inner.training for inner in copied.model.network.get_submodule(part).modules())
    assert model.network.training
    for _ in range(2):
        batch = {"input": images.train.images, "target": images.train.labels}
        figures = forward_backward(task, [batch], runtime, update=update)[0]
        update.step(figures["loss"], 1.0)
    for key, value in model.state_dict().items():
        if key.startswith(held):
            assert torch.equal(value, before[key]), key
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_job_reads_its_weights_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, read = tmp_path / "w.pt", []
    torch.save(build("fercnn", classes=7, channels=1, size=48).state_dict(), file)

    def counted(path: Path) -> Weights:
        read.append(path)
        return read_weights(path)

    monkeypatch.setattr("ptapp_vision.domain.read_weights", counted)
    job = TrainVision(weights=file, steps=1, device="cpu", threads=1, log_to=[], run_dir=tmp_path / "runs")
    train_once(VISION, job)
    assert read == [file]
