"""A network of the user's own: trained, resumed, measured, asked and exported like those of ptapp."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import ptapp
from contract.rows import command, last_checkpoint, only_run
from extending.own import error_of, masked, tagged, texts, words
from ptapp_core.nn.own import head_of
from ptapp_vision.models import build, read_weights

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("domain", ["vision", "audio"])
def test_a_network_and_a_loss_of_ones_own_go_all_the_way(
    domain: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(words(domain, place)) == 0
    run = only_run(place)
    card = json.loads((run / "meta.json").read_text())["model"]
    assert card["name"] == str(place / f"own_{'images' if domain == 'vision' else 'sounds'}.py:Net")
    monkeypatch.chdir(tmp_path)  # the file is found from anywhere
    file = next(place.glob("*/*/1.*"))
    capsys.readouterr()
    assert command([domain, "predict", str(run), str(file), "--json", "--device", "cpu"]) == 0
    said = json.loads(capsys.readouterr().out)
    (answer,) = ptapp.load(run, device="cpu").predict([file])
    assert answer == {name: said[name] for name in answer}
    assert command([domain, "evaluate", str(run), "--device", "cpu", "--precision", "fp32"]) == 0
    assert command([domain, "export", str(run), "--format", "pt2"]) == 0
    assert list((run / "export").glob("model.pt2"))


@pytest.mark.parametrize("job", [texts, tagged])
def test_a_network_of_texts_goes_all_the_way(
    job: Callable[[Path], list[str]], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command([*job(place), "--activation-checkpointing", "--backbone-lr", "0.001"]) == 0
    run = only_run(place)
    monkeypatch.chdir(tmp_path)
    (answer,) = ptapp.load(run, device="cpu").predict(["a1 word3 cat"])
    assert answer.keys() >= ({"words", "tags"} if job is tagged else {"class", "probabilities"})
    assert command(["nlp", "evaluate", str(run), "--device", "cpu"]) == 0
    for form in ("pt2", "onnx"):
        assert command(["nlp", "export", str(run), "--format", form]) == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--model own_texts.py:Nets", "own_texts.py:Nets: there is no such class; did you mean 'Net'?"),
        (
            "--model own_texts.py:Reader",
            "gives a tensor (2, 7, 3) float32 in evaluation of an input (2, 7) int64, where",
        ),
        ("--model own_wrong:Needs", "needs the argument width, and is given vocab, classes, pad, length by name"),
        ("--dim 64", "--dim does nothing here: it is for networks of ptapp, not for your own"),
        ("--dropout 0.1", "--dropout does nothing here: it is for networks of ptapp, not for your own"),
        ("--lora 2", "--lora is for --model bert, causal and seq2seq, not for own_texts.py:Net"),
        ("--loss own_wrong:mean", "--loss own_wrong:mean: is no sum over samples: "),
        ("--loss hinge", "--loss hinge: unknown value"),
        (
            "--loss own_wrong:hard --balance weights",
            "--balance weights is of the built-in losses, not of own_wrong:hard",
        ),
        ("--loss own_wrong:hard --label-smoothing 0.1", "--label-smoothing does nothing here: it is for --loss cross"),
        ("--loss own_wrong:hard --task tag", "--loss does nothing here: it is for --task classify"),
        ("--task generate", "--task generate has no networks of your own: take --model transformer or lstm or gru"),
        ("--task translate", "--task translate has no networks of your own: take --model transformer"),
    ],
)
def test_a_network_of_texts_that_does_not_fit_is_refused_in_one_line(
    options: str, says: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in error_of(texts(place, *options.split()), capsys)
    assert not (place / "runs").exists()


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_it_is_exported_in_every_form(form: str, place: Path) -> None:
    assert command(words("vision", place)) == 0
    assert command(["vision", "export", str(only_run(place)), "--format", form]) == 0


def test_a_network_with_lazy_layers_learns_and_is_loaded(place: Path) -> None:
    assert command(words("vision", place, "--model", "own_images:Lazy")) == 0
    assert len(ptapp.load(only_run(place), device="cpu").predict([next(place.glob("bars/*/1.png"))])) == 1


def test_weights_of_a_run_or_a_file_begin_a_network_of_ones_own(place: Path) -> None:
    assert command(words("vision", place, "--model", "own_images:Wrapping")) == 0
    run = only_run(place)
    state = {
        name.removeprefix("network.net."): value
        for name, value in load_file(last_checkpoint(run) / "model.safetensors").items()
        if name.startswith("network.")
    }
    torch.save(state, "mine.pt")
    for source in (last_checkpoint(run), Path("mine.pt")):
        weights = read_weights(source)
        network = build("own_images:Wrapping", classes=3, channels=1, size=16, weights=weights)
        assert torch.equal(network.state_dict()["net.model.head.bias"], state["model.head.bias"])
        other = build("own_images:Wrapping", classes=5, channels=1, size=16, weights=weights)
        assert torch.equal(other.state_dict()["net.model.norm.bias"], state["model.norm.bias"])


def test_the_head_is_the_last_part_or_what_the_class_says() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU())
    assert head_of(net) == "2."
    net.head_prefix = "0."  # type: ignore[assignment]
    assert head_of(net) == "0."
    alone = nn.ParameterList([torch.ones(2)])
    assert head_of(alone) == "0"


def test_trying_a_network_changes_neither_it_nor_what_is_drawn_next(place: Path) -> None:
    torch.manual_seed(0)
    network = build("own_images:Net", classes=3, channels=1, size=16)
    state = network.state_dict()
    assert not state["net.norm.running_mean"].any()
    assert state["net.norm.num_batches_tracked"] == 0


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("nowhere.py:Net", "there is no file nowhere.py"),
        ("~nobody/net.py:Net", "there is no file ~nobody/net.py"),
        (".:Net", "the module cannot be imported: "),
        ("nowhere:Net", "the module cannot be imported: it is neither installed, nor in the current folder"),
        ("broken.py:Net", "the file cannot be imported: ZeroDivisionError: division by zero"),
        ("own_wrong.py", "give the class of the network after a colon, as own_wrong.py:Name"),
        ("own_images:Nets", "there is no such class; did you mean 'Net'?"),
        ("own_wrong:hard", "is no class of networks: derive it from torch.nn.Module"),
        (
            "own_wrong:Needs",
            "needs the argument width, and is given classes, channels, size by name: give it a default",
        ),
        ("own_wrong:Fails", "cannot be made: RuntimeError: no such luck at all"),
        ("own_wrong:Still", "has no parameters that learn"),
        ("own_wrong:Fixed", "gives a tensor (2, 10) float32 in evaluation of an input (2, 1, 16, 16) float32, where"),
        ("own_wrong:Two", "gives a tuple in training of an input (2, 1, 16, 16) float32, where logits (2, 3) are due"),
        ("own_wrong:Small", "fails on an input (2, 1, 16, 16) float32: RuntimeError: "),
        ("own_wrong:Cut", "its logits do not depend on its parameters"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_in_one_line(
    model: str, says: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.py").write_text("1 / 0")
    assert error_of(words("vision", place, "--model", model), capsys).startswith(
        f"ptapp: error: --model {model}: {says}"
    )
    assert not (place / "runs").exists()


def test_of_sounds_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    says = (
        "--model own_wrong:Fixed: gives a tensor (2, 10) float32 in evaluation of an input (2, 16, 26) float32, where"
    )
    assert says in error_of(words("audio", place, "--model", "own_wrong:Fixed", "--hop", "0.01"), capsys)
    says = "needs the argument width, and is given classes, bands, frames by name"
    assert says in error_of(words("audio", place, "--model", "own_wrong:Needs"), capsys)


def test_a_network_and_a_loss_of_masks_go_all_the_way(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(masked(place, "--epochs", "8", "--lr", "0.01")) == 0
    run = only_run(place)
    assert json.loads((run / "meta.json").read_text())["model"]["kind"] == "segment"
    assert json.loads((run / "report" / "metrics.json").read_text())["test"]["pixel_accuracy"] > 0.8
    monkeypatch.chdir(tmp_path)
    (answer,) = ptapp.load(run, device="cpu").predict([place / "masked" / "images" / "1.png"])
    assert answer["mask"].shape == (16, 16)
    assert command(["vision", "evaluate", str(run), "--device", "cpu"]) == 0
    for form in ("pt2", "onnx"):
        assert command(["vision", "export", str(run), "--format", form]) == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--model own_images.py:Net", "gives a tensor (2, 3) float32 in evaluation of an input (2, 1, 16, 16) float32"),
        ("--model fercnn", "--model fercnn gives no class to each pixel: --task segment has --model unet"),
        (
            "--loss own_images.py:hinge",
            "fails on logits (4, 3, 8, 8) and targets (4, 8, 8) int64: ",
        ),
        ("--loss own_wrong:mean", "--loss own_wrong:mean: fails on logits (4, 3, 8, 8) and targets (4, 8, 8) int64"),
        ("--balance weights", "--balance weights is of the built-in losses"),
        ("--no-se", "--se is an option of the resnets"),
        ("--label-smoothing 0.1", "--label-smoothing does nothing here"),
    ],
)
def test_what_does_not_fit_masks_is_refused_in_one_line(
    options: str, says: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in error_of(masked(place, *options.split()), capsys)
    assert not (place / "runs").exists()
