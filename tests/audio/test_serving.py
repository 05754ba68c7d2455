"""An export of recordings answers without torch as its run does, also on what is longer or shorter than a window."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import ptapp
from contract import of_audio
from contract.rows import command, only_run
from ptapp_audio.data.read import read
from ptapp_audio.data.unreadable import Unreadable
from serving import assert_alike, export, served

pytestmark = pytest.mark.slow

SMALL = "--epochs 2 --batch-size 16 --device cpu --threads 1 --log-to none --seconds 0.25 --mels 16 --width 4"


def trained(folder: Path, *words: str) -> Path:
    assert command(["audio", "train", *words, *SMALL.split(), "--run-dir", str(folder / "runs")]) == 0
    return only_run(folder)


def recordings(folder: Path) -> list[Path]:
    """Files of several forms, rates and lengths, of which one is silent, and another silent for the most part."""
    folder.mkdir()
    random = np.random.default_rng(0)
    noise = (0.1 * random.standard_normal((9000, 2))).astype(np.float32)
    late = np.concatenate([np.zeros((20_000, 1)), 0.3 * np.sin(np.arange(2000))[:, None], np.zeros((9000, 1))])
    files = {
        "stereo.wav": (noise, 22_050, {"subtype": "FLOAT"}),
        "short.flac": (noise[:300], 4000, {}),
        "loud.wav": (noise * 40, 8000, {"subtype": "FLOAT"}),
        "silent.wav": (np.zeros(3000), 4000, {}),
        "late.ogg": (late, 8000, {}),
        "coded.mp3": (noise[:, 0], 16_000, {}),
        "long.wav": (np.tile(noise, (30, 1)), 16_000, {}),
    }
    for name, (wave, rate, form) in files.items():
        soundfile.write(folder / name, wave, rate, **form)
    return sorted(folder.iterdir())


def unlike_its_file(content: bytes, file: Path) -> bool:
    """Whether bytes are read otherwise than as a file."""
    file.write_bytes(content)
    try:
        expected: Any = read(file, 8000)
    except Unreadable as error:
        with pytest.raises(Unreadable) as raised:
            read(content, 8000)
        return str(raised.value) != str(error)
    return not np.array_equal(read(content, 8000).samples, expected.samples)


def test_bytes_are_read_as_their_file(tmp_path: Path) -> None:
    for file in recordings(tmp_path / "files"):
        content = file.read_bytes()
        left_open = content[:4] + b"\xff" * 4 + content[8:40] + b"\xff" * 4 + content[44:]
        for changed in (content, content[: len(content) // 2], left_open, content[:10], b"", b"no audio at all"):
            assert not unlike_its_file(changed, tmp_path / file.name)


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "mp3"])
def test_no_more_than_the_longest_recording_is_decoded(form: str, tmp_path: Path) -> None:
    soundfile.write(file := tmp_path / f"a.{form}", np.zeros(16_000), 16_000)
    assert len(read(file, longest=1.2).samples) >= 16_000
    with pytest.raises(Unreadable, match="has more than 14,400 samples"):
        read(file, longest=0.9)


@pytest.mark.parametrize("task", ["classify", "multilabel", "regress"])
def test_classes_labels_and_numbers(task: str, tmp_path: Path) -> None:
    words = of_audio._train_numbers(tmp_path)
    data = words[words.index("--data") + 1] if task != "classify" else str(of_audio.write_sounds(tmp_path / "tones"))
    columns = {"regress": ["--label-column", "seconds+year"], "multilabel": ["--label-column", "labels"]}.get(task, [])
    run = trained(tmp_path, "--data", data, "--task", task, *columns)
    files = [*recordings(tmp_path / "files"), *sorted((tmp_path / "numbered").glob("*/*.wav"))[::31]]
    answers = served(export(run), [file.read_bytes() for file in files])
    assert_alike(answers, ptapp.load(run, device="cpu").predict(files))
    assert all({"class", "labels", "values"} & answer.keys() for answer in answers)


def test_what_is_no_recording_is_named_in_one_line(tmp_path: Path) -> None:
    run = trained(tmp_path, "--data", str(of_audio.write_sounds(tmp_path / "tones", 12)), "--split", "exact")
    folder = export(run)
    (tone,) = (tmp_path / "tones" / "low").glob("0.wav")
    soundfile.write(hours := tmp_path / "hours.flac", np.zeros(4001 * 600, np.int16), 4000)
    for content, why in (
        (hours.read_bytes(), "has more than 2,400,000 samples; cut it into parts"),
        (b"", "is empty (0 bytes)"),
        (b"no recording", "is no audio of a known format"),
        (tone.read_bytes()[:500], "is cut short"),
    ):
        said = served(folder, [content])
        assert said.startswith(f"sample 0: {why}")
        assert "\n" not in said
    assert served(folder, []) == []
