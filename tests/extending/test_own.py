"""A network and a loss of the user's own: trained, resumed, measured, asked and exported like those of ptapp."""

import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import ptapp
from contract import of_audio, of_nlp, of_vision
from contract.rows import command, last_checkpoint, only_run, process, record
from ptapp_core.errors import UserError
from ptapp_core.kinds.classify import predict
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.own import OwnLoss, head_of
from ptapp_core.settings.own import bring, full_name, refuse_code_of
from ptapp_vision.models import build, read_weights

IMAGES = """
from torch import nn
from torch.nn import functional

class Net(nn.Module):
    def __init__(self, classes, channels, size, width=8):
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(width * (size // 2) ** 2, classes)

    def forward(self, x):
        x = functional.max_pool2d(self.norm(self.convolution(x)).relu(), 2)
        return self.head(self.dropout(x.view(x.shape[0], -1)))

class Lazy(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.Linear(8, classes))

class Wrapping(nn.Module):
    def __init__(self, **shape):
        super().__init__()
        self.model = Net(**shape)

    def forward(self, x):
        return self.model(x)

def hinge(logits, target):
    return functional.multi_margin_loss(logits, target, reduction="none")
"""
SOUNDS = """
from torch import nn
from torch.nn import functional

class Net(nn.Module):
    def __init__(self, classes, bands):
        super().__init__()
        self.convolution = nn.Conv1d(bands, 16, 5)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.dropout(self.convolution(x).relu().amax(2)))

def hinge(logits, target):
    return functional.multi_margin_loss(logits, target, reduction="sum")
"""
TEXTS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, vocab, classes, pad, length):
        super().__init__()
        self.words = nn.Embedding(vocab, 16, padding_idx=pad)
        self.places = nn.Embedding(length, 16)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(16, classes)

    def forward(self, ids):
        states = self.words(ids) + self.places.weight[: ids.shape[1]]
        return self.head(self.dropout(states.amax(1)))

class Reader(nn.Module):
    def __init__(self, vocab, classes):
        super().__init__()
        self.words = nn.Embedding(vocab, 16)
        self.read = nn.GRU(16, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, classes)

    def forward(self, ids):
        return self.head(self.read(self.words(ids))[0])
"""
WRONG = """
import torch
from torch import nn
from torch.nn import functional

class Needs(nn.Module):
    def __init__(self, classes, width):
        super().__init__()

class Fails(nn.Module):
    def __init__(self, classes):
        super().__init__()
        raise RuntimeError("no such luck\\nat all")

class Still(nn.Module):
    def forward(self, x):
        return x

class Fixed(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(10))

class Small(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.Linear(7, classes))

class Two(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(classes))

    def forward(self, x):
        logits = super().forward(x)
        return (logits, logits) if self.training else logits

class Cut(Fixed):
    def __init__(self, classes):
        super().__init__(classes)
        self.classes = classes

    def forward(self, x):
        return super().forward(x)[:, : self.classes].detach()

class Learning(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)

number = 3

def mean(logits, target):
    return functional.cross_entropy(logits, target)

def matrix(logits, target):
    return logits

def counted(logits, target):
    return (logits.argmax(1) != target).float().sum()

def plain(logits, target):
    return 3.0

def other(logits):
    return logits.sum()

def hard(logits, target):
    return functional.multi_margin_loss(logits, target, reduction="sum")
"""
pytestmark = pytest.mark.slow
SMALL = (
    "--epochs 2 --batch-size 16 --save-every 0.5 --eval-every 1 --log-every 2 --device cpu --threads 1 --log-to none"
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's, with files of his, in which the commands are given."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name, text in (("images", IMAGES), ("sounds", SOUNDS), ("texts", TEXTS), ("wrong", WRONG)):
        Path(f"own_{name}.py").write_text(text)
    yield folder
    forget()


def forget() -> None:
    """As if nothing of the user's had been imported yet."""
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def words(domain: str, place: Path, *more: str) -> list[str]:
    if domain == "vision":
        data, file, shape = of_vision.write_images(place / "bars"), "own_images", ""
    else:
        data, file, shape = (
            of_audio.write_sounds(place / "tones"),
            "own_sounds",
            "--seconds 0.25 --mels 16",
        )
    own = f"--model {file}.py:Net --loss {file}:hinge {shape} {SMALL}"
    return [domain, "train", *own.split(), "--data", str(data), "--run-dir", str(place / "runs"), *more]


def texts(place: Path, *more: str) -> list[str]:
    data = of_nlp.write_texts(place / "texts")
    own = f"--model own_texts.py:Net --max-length 16 {SMALL} --data {data} --run-dir {place / 'runs'}"
    return ["nlp", "train", *own.split(), *more]


def tagged(place: Path, *more: str) -> list[str]:
    """A job that tags words by their first letter."""
    (place / "tagged").mkdir(exist_ok=True)
    text = "\n\n".join("\n".join(f"{'ab'[(n + k) % 2]}{n} {'OX'[(n + k) % 2]}" for k in range(4)) for n in range(80))
    (place / "tagged" / "words.conll").write_text(text + "\n")
    own = f"--task tag --model own_texts.py:Reader {SMALL} --data {place / 'tagged' / 'words.conll'}"
    return ["nlp", "train", *own.split(), "--run-dir", str(place / "runs"), *more]


def error_of(given: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with."""
    capsys.readouterr()
    assert command(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


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


def test_a_job_of_texts_that_is_resumed_ends_with_the_same_bytes(place: Path) -> None:
    own = ["--model", f"{place / 'own_texts.py'}:Net", "--loss", f"{place / 'own_wrong.py'}:hard"]
    assert process([*texts(place), *own]).returncode == 0
    whole = place / "whole"
    shutil.move(only_run(place), whole)
    assert process([*texts(place), *own], signal_at=(8, signal.SIGTERM)).returncode == 75
    run = only_run(place)
    assert process(["nlp", "train", "--resume", str(run)]).returncode == 0
    for name in ("model.safetensors", "state.pt"):
        assert (last_checkpoint(run) / name).read_bytes() == (last_checkpoint(whole) / name).read_bytes()


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
        ("--lora 2", "--lora is for --model bert, not for own_texts.py:Net"),
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


def test_code_in_the_run_directory_of_texts_is_not_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(texts(place)) == 0
    run, witness = only_run(place), place / "code-ran"
    (run / "evil.py").write_text(f"open({str(witness)!r}, 'w')\n")
    for file in ("config.toml", "meta.json"):
        text = (run / file).read_text()
        (run / file).write_text(text.replace(f'"{place}/own_texts.py:Net"', f'"{run}/evil.py:Net"'))
    for verb in ("train --resume", "evaluate", "export", "predict"):
        says = error_of(["nlp", *verb.split(), str(run), *(["a text"] if verb == "predict" else [])], capsys)
        assert "is code in the run directory itself" in says
    assert not witness.exists()


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_it_is_exported_in_every_form(form: str, place: Path) -> None:
    assert command(words("vision", place)) == 0
    assert command(["vision", "export", str(only_run(place)), "--format", form]) == 0


@pytest.mark.parametrize(("domain", "file"), [("vision", "own_images.py"), ("audio", "own_sounds.py")])
def test_a_job_of_it_that_is_resumed_ends_with_the_same_bytes(domain: str, file: str, place: Path) -> None:
    own = ["--model", f"{place / file}:Net", "--loss", f"{place / file}:hinge"]
    assert process([*words(domain, place), *own]).returncode == 0
    whole = place / "whole"
    shutil.move(only_run(place), whole)
    assert process([*words(domain, place), *own], signal_at=(8, signal.SIGTERM)).returncode == 75
    run = only_run(place)
    assert process([domain, "train", "--resume", str(run)]).returncode == 0
    for name in ("model.safetensors", "state.pt"):
        assert (last_checkpoint(run) / name).read_bytes() == (last_checkpoint(whole) / name).read_bytes()
    assert record(run) == record(whole)


def test_the_loss_of_an_evaluation_is_that_of_its_logits() -> None:
    def squares(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (logits - 9).square().sum(1) + target

    model, data = nn.Linear(4, 3), {"input": torch.randn(20, 4), "target": torch.arange(20) % 3}
    got = predict(model, data, Runtime("cpu", "fp32")).loss(OwnLoss(squares))
    assert got == pytest.approx(squares(model(data["input"]), data["target"]).mean().item(), rel=1e-5)


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


@pytest.mark.parametrize("name", ["a\0.py:Net", "a\0b:Net", "..:Net", ":Net", "net:", "net.py:", "a b:Net", "é.py:é"])
def test_a_name_that_none_has_is_one_line(name: str, place: Path) -> None:
    refuse_code_of(place, name, "model", remedy="elsewhere")
    with pytest.raises(UserError, match=r"^--model "):
        bring(full_name(name), "--model", "the class")


def test_of_sounds_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    says = (
        "--model own_wrong:Fixed: gives a tensor (2, 10) float32 in evaluation of an input (2, 16, 26) float32, where"
    )
    assert says in error_of(words("audio", place, "--model", "own_wrong:Fixed", "--hop", "0.01"), capsys)
    says = "needs the argument width, and is given classes, bands, frames by name"
    assert says in error_of(words("audio", place, "--model", "own_wrong:Needs"), capsys)


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("nowhere.py:f", "there is no file nowhere.py"),
        ("own_wrong:absent", "there is no such function"),
        ("own_wrong:number", "there is no such function"),
        ("own_wrong:mean", "is no sum over samples: "),
        ("torch.nn:CrossEntropyLoss", "is no sum over samples: "),
        ("own_wrong:matrix", "returns a tensor (4, 3) float32 of logits (4, 3) and targets (4,) int64, where the sum"),
        ("own_wrong:counted", "has no gradient by the logits"),
        ("own_wrong:plain", "returns a float of logits (4, 3) and targets (4,) int64, where"),
        ("own_wrong:other", "fails on logits (4, 3) and targets (4,) int64: TypeError: "),
        ("own_wrong:Needs", "cannot be made: TypeError: "),
        ("own_wrong:Learning", "has parameters, and a loss does not learn"),
    ],
)
@pytest.mark.parametrize("domain", ["vision", "audio"])
def test_a_loss_that_does_not_fit_is_refused_in_one_line(
    domain: str, loss: str, says: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert error_of(words(domain, place, "--loss", loss), capsys).startswith(f"ptapp: error: --loss {loss}: {says}")
    assert not (place / "runs").exists()


def test_a_loss_is_tried_with_probabilities_where_images_are_mixed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says = "--loss own_wrong:hard: fails on logits (4, 3) and targets (4, 3) float32: "
    assert says in error_of(words("vision", place, "--loss", "own_wrong:hard", "--mixup", "0.2"), capsys)


@pytest.mark.parametrize(
    ("domain", "options", "says"),
    [
        ("vision", "--no-se", "--se is an option of the resnets, not of --model own_images.py:Net"),
        ("vision", "--pretrained", "--pretrained does nothing here: it is for networks of ptapp, not for your own"),
        ("vision", "--no-channels-last", "--no-channels-last does nothing here: it is for networks of ptapp"),
        ("audio", "--width 16", "--width does nothing here: it is for networks of ptapp, not for your own"),
        ("audio", "--dropout 0.5", "--dropout does nothing here: it is for networks of ptapp, not for your own"),
        ("vision", "--label-smoothing 0.1", "--label-smoothing does nothing here: it is for --loss cross-entropy"),
        ("audio", "--label-smoothing 0.1", "--label-smoothing does nothing here: it is for --loss cross-entropy"),
        ("vision", "--balance weights", "--balance weights is of the built-in losses, not of own_images:hinge"),
        ("audio", "--balance weights", "--balance weights is of the built-in losses, not of own_sounds:hinge"),
        ("vision", "--model autoencoder", "--loss own_images:hinge is of outputs and targets, not for --model autoenc"),
        ("vision", "--loss hing", "--loss hing: unknown value"),
        ("audio", "--loss hing", "--loss hing: unknown value"),
    ],
)
def test_options_of_built_in_networks_and_losses_are_refused(
    domain: str, options: str, says: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in error_of(words(domain, place, *options.split()), capsys)


@pytest.mark.parametrize("domain", ["vision", "audio", "nlp"])
def test_help_names_the_form(domain: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([domain, "train", "--help-all"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "module:Class" in said
    assert "module:function" in said


@pytest.mark.parametrize("domain", ["vision", "audio"])
@pytest.mark.parametrize("option", ["model", "loss"])
def test_code_in_a_run_directory_is_not_run(
    domain: str, option: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(words(domain, place)) == 0
    run, witness = only_run(place), place / "code-ran"
    (run / "evil.py").write_text(f"open({str(witness)!r}, 'w')\n")
    dotted = ".".join(run.relative_to(place).parts)  # folders without an __init__.py are packages
    for evil in (f"{run}/evil.py", f"{dotted}.evil"):
        for file in ("config.toml", "meta.json"):
            text, name = (run / file).read_text(), "Net" if option == "model" else "hinge"
            start = "own_images" if domain == "vision" else "own_sounds"
            for old in (f"{place}/{start}.py:{name}", f"{start}:{name}"):
                text = text.replace(f'"{old}"', f'"{evil}:{name}"')
            (run / f"{file}.new").write_text(text)
        kept = {file: (run / file).read_text() for file in ("config.toml", "meta.json")}
        for file in kept:
            (run / file).write_text((run / f"{file}.new").read_text())
        verbs = ["train --resume"] if option == "loss" else ["train --resume", "evaluate", "export", "predict"]
        for verb in verbs:
            more = [str(place / "x.png")] if verb == "predict" else []
            says = error_of([domain, *verb.split(), str(run), *more], capsys)
            assert "is code in the run directory itself" in says
            assert not witness.exists()
        if option == "model":
            with pytest.raises(UserError, match="is code in the run directory itself"):
                ptapp.load(run, device="cpu")
        for file, text in kept.items():
            (run / file).write_text(text)


def test_a_file_that_was_moved_is_named_anew_and_the_job_resumed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = f"{place}/own_images.py:"
    assert command(words("vision", place, "--loss", f"{own}hinge")) == 0
    run = only_run(place)
    shutil.move("own_images.py", "elsewhere.py")
    forget()
    assert f"there is no file {place}/own_images.py" in error_of(["vision", "evaluate", str(run)], capsys)
    for file in ("config.toml", "meta.json"):
        text = (run / file).read_text()
        (run / file).write_text(text.replace(own, f"{place}/elsewhere.py:"))
    shutil.rmtree(last_checkpoint(run))
    assert command(["vision", "train", "--resume", str(run)]) == 0
    assert command(["vision", "evaluate", str(run), "--device", "cpu"]) == 0
