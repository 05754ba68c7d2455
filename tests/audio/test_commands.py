"""The commands of `ptapp audio`, end to end on a small folder of clips."""

import json
import shutil
from pathlib import Path

import librosa
import numpy as np
import onnxruntime
import pytest
import soundfile
import torch

from contract.of_audio import RATE, write_sounds
from contract.rows import command, last_checkpoint, only_run
from ptapp_audio.config import FeaturesAudio
from ptapp_audio.data.clips import Clips
from ptapp_audio.data.read import read
from ptapp_audio.features import describe
from ptapp_audio.features.describe import compute
from ptapp_audio.features.spectral import MFCC
from ptapp_audio.train import several_windows
from ptapp_core.errors import UserError

pytestmark = pytest.mark.slow

QUICK = ["--threads", "1", "--log-to", "none", "--width", "8", "--mels", "16", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tones/`, the data, and one run trained on it."""
    folder = tmp_path_factory.mktemp("audio")
    data = write_sounds(folder / "tones")
    words = ["--data", str(data), "--run-dir", str(folder / "runs"), "--epochs", "12", "--seconds", "0.25"]
    words += ["--split", "exact"]
    assert command(["audio", "train", *words, *QUICK, "--batch-size", "16"]) == 0
    return folder


def test_a_job_learns_and_leaves_a_report(trained: Path) -> None:
    run = only_run(trained)
    report = json.loads((run / "report" / "metrics.json").read_text())
    assert report["test"]["accuracy"] > 0.9
    assert [(row["class"], row["support"]) for row in report["classes"]] == [("high", 4), ("low", 4), ("rising", 4)]
    pictures = {p.name for p in (run / "report").iterdir()}
    assert pictures == {"confusion.png", "curves.png", "metrics.json", "mistakes.png", "predictions.jsonl"}
    assert json.loads((run / "meta.json").read_text())["status"] == "finished"


def test_a_note_on_the_data_and_one_on_the_batch_are_each_printed_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_sounds(tmp_path / "tones", 10)
    for number, folder in enumerate(sorted(data.iterdir())):
        folder.rename(data / f"user{number}")
    words = ["--data", str(data), "--run-dir", str(tmp_path / "runs"), "--steps", "1", "--seconds", "0.25"]
    assert command(["audio", "train", *words, *QUICK, "--split", "exact", "--no-test"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("the classes are 'user0', 'user1'") == 1
    assert " (not the default 32: there are " in said.partition("plan: 1 step")[2]


def test_evaluate_measures_what_training_reported(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = only_run(trained)
    before = json.loads((run / "report" / "metrics.json").read_text())["test"]
    assert command(["audio", "evaluate", str(run)]) == 0
    after = json.loads((run / "evaluation" / "own-test" / "metrics.json").read_text())["test"]
    assert after == pytest.approx(before)
    other = trained / "other"
    shutil.copytree(trained / "tones", other)
    assert command(["audio", "evaluate", str(run), "--data", str(other)]) == 0
    record = json.loads((run / "evaluation" / "other-all" / "metrics.json").read_text())
    assert sum(row["support"] for row in record["classes"]) == len(list(other.glob("*/*.wav")))
    shutil.copytree(trained / "tones" / "low", other / "strange")
    assert command(["audio", "evaluate", str(run), "--data", str(other)]) == 2
    assert "'strange'" in capsys.readouterr().err


def test_predict_names_what_it_cannot_read_and_goes_on(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, mixed = only_run(trained), trained / "mixed"
    mixed.mkdir()
    for name in ("high", "low"):
        shutil.copy(trained / "tones" / name / "3.wav", mixed / f"{name}.wav")
    (mixed / "broken.wav").write_bytes(b"not audio")
    assert command(["audio", "predict", str(run), str(mixed), str(mixed / "gone.wav"), "--json"]) == 2
    output = capsys.readouterr()
    lines = [json.loads(line) for line in output.out.splitlines()]
    assert {Path(line["file"]).name: line["class"] for line in lines} == {"high.wav": "high", "low.wav": "low"}
    assert all(sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-4) for line in lines)
    assert "broken.wav" in output.err
    assert "gone.wav" in output.err


def test_floats_in_the_range_of_int16_get_the_same_answer_and_a_note(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, floats = only_run(trained), trained / "floats.wav"
    wave, rate = soundfile.read(trained / "tones" / "low" / "3.wav")
    soundfile.write(floats, wave * 32768, rate, subtype="FLOAT")
    assert command(["audio", "predict", str(run), str(trained / "tones" / "low" / "3.wav"), str(floats), "--json"]) == 0
    output = capsys.readouterr()
    right, other = (json.loads(line)["probabilities"] for line in output.out.splitlines())
    assert other == pytest.approx(right, abs=2e-3)
    assert "1 file of floats beyond full scale, divided by up to " in output.err
    assert command(["audio", "features", str(floats), "--out", str(trained / "floats")]) == 0
    assert "1 file of floats beyond full scale" in capsys.readouterr().err


@pytest.mark.draws
def test_a_long_recording_gets_a_time_line(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, long = only_run(trained), trained / "long.wav"
    time = np.arange(RATE) / RATE
    parts = [0.5 * np.sin(2 * np.pi * hertz * time) for hertz in (300, 900, 300)]
    wave = np.concatenate(parts) + 0.03 * np.random.default_rng(0).standard_normal(3 * RATE)
    soundfile.write(long, wave, RATE)
    words = ["audio", "predict", str(run), str(long), "--timeline", "--every", "0.2"]
    assert command([*words, "--json", "--picture", str(trained / "pictures")]) == 0
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for start, name in ((0.2, "low"), (0.6, "low"), (1.2, "high"), (1.6, "high"), (2.2, "low")):
        (window,) = [each for each in line["windows"] if each["from"] == pytest.approx(start)]
        assert window["class"] == name
        assert window["to"] == pytest.approx(start + 0.25)
    assert line["windows"][-1]["to"] == pytest.approx(3.0)
    assert (trained / "pictures" / "long.png").stat().st_size > 10_000
    assert command(words) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(line["windows"])


def test_a_time_line_marks_windows_of_silence_as_text_and_in_json(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, paused = only_run(trained), trained / "paused.wav"
    tone = 0.5 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)
    soundfile.write(paused, np.concatenate([tone, np.full(RATE, 5e-4), tone]), RATE)
    words = ["audio", "predict", str(run), str(paused), "--timeline", "--every", "0.25"]
    assert command([*words, "--json"]) == 0
    windows = json.loads(capsys.readouterr().out)["windows"]
    assert [each["silent"] for each in windows] == [False] * 4 + [True] * 4 + [False] * 4
    assert command(words) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.endswith("  (silence)") for line in lines] == [each["silent"] for each in windows]


def test_predict_and_features_count_what_a_folder_holds_besides(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(trained / "tones" / "low" / "3.wav", tmp_path / "a.wav")
    (tmp_path / "b.sfz").write_bytes(b"no audio")
    (tmp_path / "notes.txt").write_text("a text is no audio that was missed")
    for words in (
        ["predict", str(only_run(trained)), str(tmp_path)],
        ["features", str(tmp_path), "--out", str(trained / "besides")],
    ):
        assert command(["audio", *words]) == 2
        error = capsys.readouterr().err
        assert "1 file cannot be read as recordings (1 .sfz; the first is " in error
        assert "1 of 2 files could not be read" in error


def test_silence_gets_an_answer_and_a_note(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, quiet, opposed, loud = only_run(trained), *(trained / f"{name}.wav" for name in ("quiet", "opposed", "loud"))
    tone = np.sin(np.arange(RATE) / 5)
    soundfile.write(quiet, tone * 9e-4, RATE)
    soundfile.write(opposed, np.stack([tone, -tone], 1) * 0.5, RATE)
    soundfile.write(loud, tone * 2e-3, RATE)
    assert command(["audio", "predict", str(run), str(quiet), str(opposed), str(loud), "--json"]) == 0
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 3
    assert output.err.splitlines()[-2:] == [
        f"ptapp: note: 1 file of silence (the first is {quiet})",
        f"ptapp: note: 1 file whose channels cancel to silence (the first is {opposed})",
    ]


def test_the_time_line_of_a_short_sound_ends_with_the_sound(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(trained / "short.wav", np.sin(np.arange(RATE // 10) / 5), RATE)
    words = ["audio", "predict", str(only_run(trained)), str(trained / "short.wav"), "--timeline"]
    assert command([*words, "--json"]) == 0
    (window,) = json.loads(capsys.readouterr().out)["windows"]
    assert (window["from"], window["to"]) == (0.0, 0.1)
    assert command(words) == 0
    assert "0.00 to     0.10 s" in capsys.readouterr().out


def test_the_exported_model_says_what_predict_says(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = only_run(trained)
    assert command(["audio", "export", str(run)]) == 0
    card = json.loads((run / "export" / "model.onnx.json").read_text())
    assert "do not pad" in card["batches"]
    files = [trained / "tones" / name / f"{number}.wav" for name in ("high", "low", "rising") for number in (0, 1)]
    capsys.readouterr()
    assert command(["audio", "predict", str(run), *map(str, files), "--json", "--precision", "fp32"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    session = onnxruntime.InferenceSession(str(run / "export" / "model.onnx"))
    for file, line in zip(files, lines, strict=True):
        samples, _, *_ = read(file, card["rate"])
        got = session.run(None, {"input": samples[None].astype(np.float32) / 32768})[0][0]
        assert got == pytest.approx([line["probabilities"][name] for name in card["classes"]], abs=1e-4)


@pytest.mark.draws
def test_features_are_written_and_drawn(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audio", "features", str(trained / "tones" / "low" / "0.wav"), "--out", str(trained / "features")]
    assert command([*words, "--n-fft", "256", "--hop", "64", "--mels", "32"]) == 0
    with np.load(trained / "features" / "0.npz") as found:
        assert found["mel"].shape[0] == 32
        frames = {found[name].shape[1] for name in found.files if found[name].ndim == 2}
        assert len(frames) == 1
        assert found["rate"] == RATE
    assert (trained / "features" / "0.png").stat().st_size > 10_000
    assert command(["audio", "features", str(trained / "gone.wav")]) == 2
    assert "gone.wav: no such file" in capsys.readouterr().err
    assert command([*words, "--n-fft", "64", "--mels", "64"]) == 2
    assert "of the bands are narrower than the 33 bins" in capsys.readouterr().err
    assert command([*words, "--n-fft", "256", "--mels", "8", "--fmin", "100", "--fmax", "1500", "--mfccs", "5"]) == 0
    wave = torch.from_numpy(read(trained / "tones" / "low" / "0.wav").samples)[None] / 32768
    with np.load(trained / "features" / "0.npz") as found:
        expected = MFCC(RATE, 5, 256, n_mels=8, fmin=100, fmax=1500)(wave)[0].numpy()
        np.testing.assert_allclose(found["mfcc"], expected, atol=1e-3)
    assert command([*words, "--fmin", "2000"]) == 2
    assert "fmin of 2000 Hz: must be at least 0 and below fmax, here 2000 Hz" in capsys.readouterr().err


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_features_of_a_file_are_librosas_however_deep_its_samples_are(tmp_path: Path, subtype: str) -> None:
    """A sound of 20 steps of 16 bits, whose rounding to such steps is loud beside its nearly silent bands."""
    wave = 6e-4 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000) + 1e-6 * np.random.default_rng(0).normal(size=8000)
    soundfile.write(file := tmp_path / "a.wav", wave, 8000, subtype=subtype)
    assert command(["audio", "features", str(file), "--out", str(tmp_path), "--n-fft", "512", "--only", "log_mel"]) == 0
    whole, rate = soundfile.read(file, dtype="float32")
    with np.load(tmp_path / "a.npz") as found:
        power = librosa.feature.melspectrogram(
            y=whole, sr=rate, n_fft=512, hop_length=int(found["hop"]), n_mels=len(found["log_mel"])
        )
        np.testing.assert_allclose(found["log_mel"], librosa.power_to_db(power), atol=0.02)


def test_evaluate_says_of_the_data_what_training_said(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained / "tones", other)
    (other / "low" / "a.sfz").write_bytes(b"no audio")
    (other / "low" / "broken.wav").write_bytes(b"no audio")
    assert command(["audio", "evaluate", str(only_run(trained)), "--data", str(other), "--skip-bad"]) == 0
    output = capsys.readouterr().out
    assert "note: 1 file cannot be read as recordings (1 .sfz; the first is " in output
    assert f"left out: {other / 'low' / 'broken.wav'}: is no audio" in output


@pytest.mark.parametrize(("n_fft", "hop", "size"), [(256, 64, 16 * 64), (255, 100, 3217), (64, 150, 901), (512, 1, 30)])
def test_features_in_blocks_are_those_of_the_whole_sound(
    n_fft: int, hop: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = (3000 * torch.randn(size, generator=torch.Generator().manual_seed(0))).to(torch.int16)
    samples[: size // 2] //= 50
    options = {"files": ["x"], "n_fft": n_fft, "hop": hop, "mels": 8, "mfccs": 5}
    settings = FeaturesAudio.resolve(None, options)
    whole = compute(samples, RATE, settings, device=torch.device("cpu"))
    mfcc = MFCC(RATE, 5, n_fft, hop_length=hop, n_mels=8)(samples[None] / 32768)[0]
    np.testing.assert_allclose(whole["mfcc"], mfcc, atol=1e-3)
    monkeypatch.setattr(describe, "_TOGETHER", 4 * max(n_fft, hop))
    for name, values in compute(samples, RATE, settings, device=torch.device("cpu")).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-4 * np.abs(whole[name]).max(), err_msg=name)


def test_features_that_exceed_the_memory_are_refused_and_some_may_be_chosen(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = trained / "tones" / "low" / "1.wav", trained / "chosen"
    monkeypatch.setattr(describe, "free_memory", lambda: 40_000)
    words = [
        "audio",
        "features",
        str(file),
        "--out",
        str(out),
        "--n-fft",
        "512",
        "--hop",
        "8",
        "--mels",
        "16",
        "--mfccs",
        "8",
    ]
    assert command(words) == 2
    assert f"{file}: the features of 0 s take 0.0 GiB" in capsys.readouterr().err
    assert command([*words, "--only", "mfcc,zero_crossing_rate"]) == 0
    with np.load(out / "1.npz") as found:
        assert set(found.files) == {"rate", "hop", "n_fft", "mfcc", "zero_crossing_rate"}
    assert command([*words, "--only", "mfc"]) == 2
    assert "--only mfc: no such feature; did you mean 'mfcc'?" in capsys.readouterr().err


def test_training_takes_as_many_windows_of_a_long_sound_as_asked_for() -> None:
    clips = Clips(torch.zeros(0), *torch.tensor([[0, 5, 14], [5, 9, 40], [0, 1, 0]]), ["a", "b", "c"])
    assert several_windows(clips, 4, 1) is clips
    assert several_windows(clips, 4, 3).names == ["a", "b", "b", "c", "c", "c"]
    assert several_windows(clips, 4, 3).labels.tolist() == [0, 1, 1, 0, 0, 0]
    assert len(several_windows(clips, 4, 99)) == 1 + 2 + 10
    with pytest.raises(UserError, match="--windows 2: no training sound fills two windows"):
        several_windows(clips, 21, 2)


def test_cross_validation_tests_each_clip_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_sounds(tmp_path / "tones", 12)
    words = ["--data", str(data), "--run-dir", str(tmp_path / "runs"), "--epochs", "2", "--seconds", "0.25"]
    assert command(["audio", "train", *words, *QUICK, "--folds", "3", "--split", "exact"]) == 0
    output = capsys.readouterr().out
    assert "mean" in output
    (summary,) = (tmp_path / "runs").glob("*/*-folds-s0.json")
    record = json.loads(summary.read_text())
    assert [row["fold"] for row in record["folds"]] == ["1", "2", "3"]
    accuracies = [row["accuracy"] for row in record["folds"]]
    assert record["mean"]["accuracy"] == pytest.approx(np.mean(accuracies))
    supports = [
        sum(row["support"] for row in json.loads((Path(row["run"]) / "report" / "metrics.json").read_text())["classes"])
        for row in record["folds"]
    ]
    assert supports == [12, 12, 12]
    assert command(["runs", "list", str(tmp_path / "runs")]) == 0


@pytest.mark.parametrize("model", ["crnn", "transformer"])
def test_the_other_models_train_and_evaluate(model: str, trained: Path, tmp_path: Path) -> None:
    words = ["--data", str(trained / "tones"), "--run-dir", str(tmp_path / "runs"), "--epochs", "1", "--model", model]
    assert command(["audio", "train", *words, *QUICK]) == 0
    assert command(["audio", "evaluate", str(only_run(tmp_path)), "--split", "val"]) == 0
    assert last_checkpoint(only_run(tmp_path)).is_dir()


def test_wav2vec2_trains_and_goes_without_its_folder_after(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8, 8),
        conv_stride=(5, 4, 4), conv_kernel=(10, 8, 4), num_feat_extract_layers=3, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path / "tiny")
    data = write_sounds(tmp_path / "tones", 10)
    words = ["--data", str(data), "--run-dir", str(tmp_path / "runs"), "--epochs", "1", "--model", "wav2vec2"]
    words += ["--pretrained", str(tmp_path / "tiny"), "--rate", "16000", *QUICK[:4], "--split", "exact"]
    assert command(["audio", "train", *words]) == 0
    shutil.rmtree(tmp_path / "tiny")
    assert command(["audio", "evaluate", str(only_run(tmp_path))]) == 0
    assert command(["audio", "predict", str(only_run(tmp_path)), str(data / "low" / "0.wav")]) == 0
    assert command(["audio", "export", str(only_run(tmp_path)), "--format", "onnx"]) == 0
