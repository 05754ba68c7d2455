"""Vectors go the whole way, of images and of texts: trained, measured, answered, written, exported and served alike."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import ptapp
from contract import of_nlp, of_vision
from contract.rows import command, only_run
from ptapp_core.kinds.classify import Classify
from ptapp_core.kinds.embed import Embedder
from ptapp_core.serve.session import open_model
from ptapp_vision.models import build
from ptapp_vision.models.whole import Pixels

pytestmark = [pytest.mark.slow, pytest.mark.draws]

TEXTS = ["word1 cat word2", "word3 dog", "a bird", "word4 cat"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of embeddings, and one of classes, of each domain."""
    found = {}
    for module, domain in ((of_vision, "vision"), (of_nlp, "nlp")):
        for name, train in (("embed", module._train_vectors), ("classify", module._train)):
            folder = tmp_path_factory.mktemp(f"{domain}-{name}")
            assert command([*train(folder), "--epochs", "2"]) == 0
            found[f"{domain} {name}"] = only_run(folder)
    return found


def images_of(run: Path) -> list[str]:
    return sorted(map(str, run.parents[2].glob("bars/*/*.png")))[::13]


def written(run: Path, domain: str, folder: Path) -> tuple[np.ndarray, list[str]]:
    """What `embed` leaves for some images or texts of the run."""
    out = folder / "new" / "vectors.npy"
    (folder / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    given = images_of(run) if domain == "vision" else ["--file", str(folder / "texts.txt")]
    assert command([domain, "embed", str(run), *given, "--out", str(out), "--device", "cpu"]) == 0
    return np.load(out), out.with_suffix(".names.txt").read_text().splitlines()


@pytest.mark.parametrize("domain", ["vision", "nlp"])
def test_a_run_of_embeddings_is_measured_and_drawn(domain: str, runs: dict[str, Path]) -> None:
    run = runs[f"{domain} embed"]
    assert command([domain, "evaluate", str(run), "--device", "cpu"]) == 0
    job, again = (json.loads((run / part / "metrics.json").read_text()) for part in ("report", "evaluation/own-test"))
    assert again == job
    assert 0 < job["test"]["recall_at_1"] <= 1
    assert 0 < job["test"]["map_at_r"] <= 1
    assert [row["class"] for row in job["classes"]] == sorted(row["class"] for row in job["classes"])
    assert (run / "evaluation" / "own-test" / "embedding.png").stat().st_size > 1000


@pytest.mark.parametrize("domain", ["vision", "nlp"])
def test_predict_embed_the_library_and_a_server_give_the_same_vectors(
    domain: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs[f"{domain} embed"]
    samples = images_of(run) if domain == "vision" else TEXTS
    vectors, names = written(run, domain, tmp_path)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(samples), 8)
    texts = [f"{tmp_path / 'texts.txt'}:{number}" for number in range(1, len(TEXTS) + 1)]
    assert names == (samples if domain == "vision" else texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    loaded = ptapp.load(run, device="cpu")
    np.testing.assert_array_equal(loaded.embed(samples), vectors)
    said = [answer["vector"] for answer in loaded.predict(samples)]
    np.testing.assert_allclose(said, vectors, atol=1e-6)
    assert command([domain, "export", str(run)]) == 0
    served = open_model(run / "export" / "model.onnx")
    read = [served.front.read(Path(s).read_bytes() if domain == "vision" else s, "it") for s in samples]
    answers = served.front.answers(served.compute, read)
    np.testing.assert_allclose([answer["vector"] for answer in answers], vectors, atol=1e-5)


def test_classes_that_were_not_learned_are_measured_too(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "new.csv"
    data.write_text(
        "text,label\n" + "".join(f"{['cat', 'bird'][n % 2]} {n},{['new', 'old'][n % 2]}\n" for n in range(8))
    )
    assert command(["nlp", "evaluate", str(runs["nlp embed"]), "--data", str(data), "--device", "cpu"]) == 0
    (report,) = (runs["nlp embed"] / "evaluation").glob("new.csv-*/metrics.json")
    counts = {row["class"]: row["queries"] for row in json.loads(report.read_text())["classes"]}
    assert counts == {"bird": 0, "cat": 0, "dog": 0, "new": 4, "old": 4}


def test_an_export_takes_and_gives_plain_tensors(runs: dict[str, Path]) -> None:
    run = runs["vision embed"]
    assert command(["vision", "export", str(run)]) == 0
    card = json.loads((run / "export" / "model.onnx.json").read_text())
    assert (card["kind"], card["vector_size"]) == ("embed", 8)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 1, 16, 16), np.uint8)
    (given,) = onnxruntime.InferenceSession(run / "export" / "model.onnx").run(None, {"input": pixels})
    np.testing.assert_allclose(given, ptapp.load(run, device="cpu").embed(list(pixels[:, 0])), atol=1e-5)


@pytest.mark.parametrize("domain", ["vision", "nlp"])
def test_a_classifier_gives_the_features_of_its_head(domain: str, runs: dict[str, Path], tmp_path: Path) -> None:
    run = runs[f"{domain} classify"]
    vectors, _ = written(run, domain, tmp_path)
    model = ptapp.load(run, device="cpu")
    head = model.model.network.head if domain == "vision" else model.model.head
    assert vectors.shape[1] == head.in_features
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    samples = images_of(run) if domain == "vision" else TEXTS
    before = model.predict(samples)
    model.embed(samples)
    assert model.predict(samples) == before  # which still has its head


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("resnet18", 512), ("torchvision/mobilenet_v3_small", 1024), ("torchvision/squeezenet1_1", 512)],
)
def test_the_features_of_any_network_are_one_vector(name: str, numbers: int) -> None:
    network = build(name, classes=5, channels=3, size=64)
    model = Pixels(network, torch.zeros(3), torch.ones(3), kind=Classify([*"abcde"]))
    embedder = Embedder(model, f"network.{network.head_prefix.rstrip('.')}").eval()
    assert embedder(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, numbers)


def test_what_cannot_be_read_or_has_no_text_gets_no_row(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    good, out = images_of(runs["vision embed"])[0], tmp_path / "some.npy"
    assert command(["vision", "embed", str(runs["vision embed"]), str(broken), good, "--out", str(out)]) == 2
    assert str(broken) in capsys.readouterr().err
    assert (len(np.load(out)), out.with_suffix(".names.txt").read_text()) == (1, f"{good}\n")
    (tmp_path / "few.txt").write_text("cat\n \ndog\n")
    words = ["nlp", "embed", str(runs["nlp embed"]), "--file", str(tmp_path / "few.txt"), "--out", str(out)]
    assert command(words) == 0
    assert "1 blank line left out" in capsys.readouterr().err
    assert [name.rpartition(":")[2] for name in out.with_suffix(".names.txt").read_text().splitlines()] == ["1", "3"]


def test_what_makes_no_sense_is_refused_in_one_line(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["--steps", "2", "--device", "cpu", "--threads", "1", "--log-to", "none", "--run-dir"]
    assert command(["nlp", "train", "--task", "tag", *made, str(tmp_path / "runs")]) == 0
    assert command(["vision", "train", "--task", "segment", *made, str(tmp_path / "of" / "runs")]) == 0
    (tmp_path / "one.txt").write_text("a text\n")
    image = images_of(runs["vision embed"])[0]
    for words, said in (
        (["nlp", "embed", str(only_run(tmp_path)), "--file", str(tmp_path / "one.txt")], "learned to tag"),
        (["vision", "embed", str(only_run(tmp_path / "of")), image], "a class for each pixel"),
        (["vision", "embed", str(runs["vision embed"]), image, "--out", "vectors.csv"], "give NAME.npy"),
        (["audio", "train", "--task", "embed"], "--task"),
    ):
        capsys.readouterr()
        assert command(words) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if "ptapp: note:" not in line]
        assert len(errors) == 1
        assert said in errors[0]
    with pytest.raises(Exception, match="text 1 is blank"):
        ptapp.load(runs["nlp embed"], device="cpu").embed(["cat", " "])


@pytest.mark.parametrize("loss", ["triplet", "contrastive"])
def test_texts_learn_to_embed_with_the_defaults(loss: str, tmp_path: Path) -> None:
    data = of_nlp.write_texts(tmp_path / "texts", rows=600)  # whose class is one word of three
    words = f"nlp train --task embed --data {data} --loss {loss} --dim 64 --epochs 6 --device cpu --threads 1"
    assert command([*words.split(), "--log-to", "none", "--run-dir", str(tmp_path / "runs")]) == 0
    figures = json.loads((only_run(tmp_path) / "report" / "metrics.json").read_text())["test"]
    assert figures["recall_at_1"] > 0.9
    assert figures["map_at_r"] > 0.9  # 0.33 at random
