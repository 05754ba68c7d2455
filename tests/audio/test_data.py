"""Data recognised from what is there, and fold discipline."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audio.sets import load, names, write, write_manifest
from contract.of_audio import RATE, write_sounds
from divisions import EXACT
from ptapp_audio.data.clips import Clips, Windows, spread
from ptapp_core.errors import UserError


def test_a_folder_per_class_is_divided_by_class(tmp_path: Path) -> None:
    folder = write_sounds(tmp_path / "sounds", 20)
    data = load(str(folder))
    assert data.classes == ("high", "low", "rising")
    for split, count in (("train", 16), ("val", 2), ("test", 2)):
        assert getattr(data, split).labels.bincount().tolist() == [count] * 3
    assert names(load(str(folder))) == names(data)
    assert names(load(str(folder), division=replace(EXACT, seed=1))) != names(data)


def test_train_val_and_test_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("valid", 2), ("test", 3)):
        write_sounds(tmp_path / split, count)
    data = load(str(tmp_path))
    assert [len(data.train), len(data.val), len(data.test)] == [18, 6, 9]
    (tmp_path / "test" / "strange").mkdir()
    write(tmp_path / "test" / "strange" / "x.wav")
    with pytest.raises(UserError, match="strange"):
        load(str(tmp_path))


def test_names_of_digit_speaker_and_take(tmp_path: Path) -> None:
    for digit in range(3):
        for speaker in ("ann", "bob", "cy"):
            for take in range(12):
                write(tmp_path / "recordings" / f"{digit}_{speaker}_{take}.wav")
    data = load(str(tmp_path))
    assert {int(Path(name).stem.split("_")[2]) for name in data.test.names} == {0, 1, 2, 3, 4}
    assert min(int(Path(name).stem.split("_")[2]) for name in [*data.train.names, *data.val.names]) == 5
    for fold, speaker in enumerate(("ann", "bob", "cy"), start=1):
        data = load(str(tmp_path), split_by="speaker", division=replace(EXACT, fold=fold))
        assert {Path(name).stem.split("_")[1] for name in data.test.names} == {speaker}
        assert speaker not in {Path(name).stem.split("_")[1] for name in [*data.train.names, *data.val.names]}


def test_names_like_those_in_several_folders_leave_the_folders_their_say(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("test", 4)):
        for label in ("cat", "dog"):
            for take in range(count):
                write(tmp_path / split / label / f"{split}_ann_{take + 7}.wav")
    data = load(str(tmp_path))
    assert data.classes == ("cat", "dog")
    assert [len(data.train), len(data.val), len(data.test)] == [10, 2, 8]
    assert all(name.startswith("test/") for name in data.test.names)
    assert load(str(tmp_path / "train")).classes == ("cat", "dog")
    with pytest.raises(UserError, match="--split-by speaker"):
        load(str(tmp_path), split_by="speaker")


def test_sounds_for_the_test_alone_are_measured_and_not_trained_on(tmp_path: Path) -> None:
    lines = ["filename,category,split"]
    for row in range(20):
        write(tmp_path / f"{row}.wav")
        lines.append(f"{row}.wav,{'cat' if row < 10 else 'dog'},{'test' if row % 5 else 'val'}")
    (tmp_path / "meta.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="all its samples are of test and val, none of train"):
        load(str(tmp_path))
    data = load(str(tmp_path), division=None)
    assert [len(data.train), len(data.val), len(data.test)] == [0, 4, 16]
    write_sounds(tmp_path / "folder" / "test", 4)
    with pytest.raises(UserError, match="all its samples are of test, none of train"):
        load(str(tmp_path / "folder"))
    data = load(str(tmp_path / "folder"), division=None)
    assert [len(data.train), len(data.val), len(data.test)] == [0, 0, 12]


def test_a_class_without_a_training_sound_is_named(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        write(tmp_path / "small" / label / "only.wav")
    with pytest.raises(UserError, match="'cat' has 1 sample, too few to divide"):
        load(str(tmp_path / "small"))
    folder = write_sounds(tmp_path / "sounds", 5)
    for file in (folder / "rising").iterdir():
        file.write_text("no sound")
    with pytest.raises(UserError, match="'rising': none of its clips can be read"):
        load(str(folder), skip_bad=True)


def test_the_lists_of_speech_commands(tmp_path: Path) -> None:
    for word in ("yes", "no", "_background_noise_"):
        for number in range(6):
            write(tmp_path / word / f"{number}.wav")
    (tmp_path / "validation_list.txt").write_text("yes/0.wav\nno/0.wav\n")
    (tmp_path / "testing_list.txt").write_text("yes/1.wav\n./no/1.wav\n\n")
    data = load(str(tmp_path))
    assert data.classes == ("no", "yes")
    assert names(data)["val"] == ["no/0.wav", "yes/0.wav"]
    assert names(data)["test"] == ["no/1.wav", "yes/1.wav"]
    assert len(data.train) == 8
    (tmp_path / "testing_list.txt").write_text("yes/1.wav\nyes/gone.wav\n")
    with pytest.raises(UserError, match=r"testing_list\.txt:2: yes/gone\.wav"):
        load(str(tmp_path))
    (tmp_path / "testing_list.txt").write_text("yes/1.wav\n./no/0.wav\n")
    with pytest.raises(UserError, match=r"testing_list\.txt:2: \./no/0\.wav: is in the list of val as well"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("column", "value", "word"),
    [
        (1, "two", "fold 'two' is not a number"),
        (1, "", "fold '' is not a number"),
        (0, "gone.wav", "gone.wav: no such file"),
        (0, "", "no file name"),
        (2, "", "has no class"),
    ],
)
def test_a_bad_row_is_one_line_that_names_it(column: int, value: str, word: str, tmp_path: Path) -> None:
    file = write_manifest(tmp_path)
    rows = [line.split(",") for line in file.read_text().splitlines()]
    rows[40][column] = value
    file.write_text("\n".join(map(",".join, rows)))
    with pytest.raises(UserError) as stopped:
        load(str(file), division=replace(EXACT, fold=1))
    assert f"meta.csv:41: {word}" in str(stopped.value) or f"meta.csv:41: {rows[40][0]} {word}" in str(stopped.value)
    data = load(str(file), division=replace(EXACT, fold=1), skip_bad=True)
    assert "1 bad sample left out" in data.about
    assert "meta.csv:41: " in data.skipped[0]


def test_what_cannot_be_data_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    write(tmp_path / "loose" / "x.wav")
    for name, word in {
        "empty": "is empty",
        "notes.txt": "no known kind",
        "table.csv": "column",
        "loose": "class",
    }.items():
        with pytest.raises(UserError, match=word) as stopped:
            load(str(tmp_path / name))
        assert name in str(stopped.value)
    with pytest.raises(UserError, match="--fold 9"):
        load(str(write_manifest(tmp_path / "m")), division=replace(EXACT, fold=9))


def test_windows_cover_every_sample_of_every_clip() -> None:
    lengths = torch.tensor([1, 99, 100, 101, 199, 200, 201, 1000, 1234])
    owner, at = spread(lengths, 100)
    for clip, length in enumerate(lengths.tolist()):
        starts = at[owner == clip].tolist()
        assert starts[0] == 0
        assert len(starts) == 1 or starts[-1] == length - 100
        assert all(b - a <= 100 for a, b in pairwise(starts))
    starts = lengths.cumsum(0) - lengths
    block = torch.arange(int(lengths.sum()), dtype=torch.int16)
    clips = Clips(block, starts, lengths, torch.zeros(9, dtype=torch.int64), [""] * 9)
    windows = Windows(clips, 100)
    batch = windows.gather(torch.arange(len(windows)))["input"]
    assert batch[owner == 1][0].tolist() == [*range(1, 100), 0]
    assert set(batch[owner == 8].flatten().tolist()) == set(range(int(starts[8]), len(block)))
    padded = clips.windows(torch.tensor([1]), torch.tensor([-3]), 105)[0].tolist()
    assert padded == [0, 0, 0, *range(1, 100), 0, 0, 0]


def test_a_class_that_its_files_rate_or_length_tells_apart_gets_a_line(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label, rate, size in (("a", 16_000, 800), ("b", 8_000, 400), ("c", 8_000, 800)):
        for number in range(10):
            (tmp_path / label).mkdir(exist_ok=True)
            soundfile.write(tmp_path / label / f"{number}.wav", random.uniform(-0.5, 0.5, size), rate)
    rate, length = load(str(tmp_path)).notes
    assert rate.startswith("class 'a' alone has a rate of 16,000 Hz")
    assert length.startswith("class 'c' alone has a length of 0.10 s")
    assert load(str(write_sounds(tmp_path / "tones", 10))).notes == ()


@pytest.mark.parametrize(("lengths", "said"), [((0.5, 0.5), "; 0.5 s at "), ((0.5, 1.0), "; 0.5 to 1 s at ")])
def test_equal_lengths_are_said_once(tmp_path: Path, lengths: tuple[float, float], said: str) -> None:
    for name, seconds in zip("ab", lengths, strict=True):
        (tmp_path / name).mkdir()
        for number in range(10):
            wave = 0.1 * np.random.default_rng(number + ord(name)).standard_normal(round(RATE * seconds))
            soundfile.write(tmp_path / name / f"{number}.wav", wave, RATE)
    assert said in load(str(tmp_path), division=EXACT).about


def test_files_of_a_class_folder_that_are_no_sounds_are_counted(tmp_path: Path) -> None:
    folder = write_sounds(tmp_path / "sounds", 10)
    for number in range(4):
        (folder / "low" / f"{number}.xyz").write_bytes(b"no audio of any kind")
    data = load(str(folder))
    assert [note for note in data.notes if "4 files cannot be read as recordings (4 .xyz; the first is " in note]
    assert len(data.train) + len(data.val) + len(data.test) == 30


@pytest.mark.parametrize("offset", [0.0, 0.04, 0.06, -0.3])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_files_that_are_not_centred_get_a_line_where_they_are_many(offset: float, count: int, tmp_path: Path) -> None:
    for number in range(40):
        file = tmp_path / "ab"[number % 2] / f"x{number}q.wav"
        file.parent.mkdir(exist_ok=True)
        wave = np.random.default_rng(number).uniform(-0.2, 0.2, 4000)
        soundfile.write(file, wave - wave.mean() + offset * (number < count), 8000)
    about = load(str(tmp_path), division=EXACT).about
    said = abs(offset) > 0.05 and count > 2
    assert (f"{count} files whose samples are not centred on 0" in about) == said


def test_the_few_samples_of_a_file_that_holds_no_swing_are_not_said_to_be_off_centre(tmp_path: Path) -> None:
    for number in range(40):
        file = tmp_path / "ab"[number % 2] / f"x{number}q.wav"
        file.parent.mkdir(exist_ok=True)
        soundfile.write(file, np.full(1 + number, 0.5), 8000)
    assert "not centred" not in load(str(tmp_path), division=EXACT).about


@pytest.mark.parametrize(
    ("form", "channels", "said"),
    [("PCM_U8", 1, "samples that are stored as PCM_U8"), ("PCM_16", 2, "2 channels")],
)
def test_a_class_that_the_form_of_its_samples_tells_apart_gets_a_line(
    form: str, channels: int, said: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    for label, own, count in (("a", form, channels), ("b", "PCM_16", 1), ("c", "PCM_16", 1)):
        (tmp_path / label).mkdir()
        for number in range(10):
            sound = random.uniform(-0.5, 0.5, (800, count))
            soundfile.write(tmp_path / label / f"{number}.wav", sound, 8_000, subtype=own)
    (line,) = load(str(tmp_path)).notes
    assert line.startswith(f"class 'a' alone has {said}, in all its files: the model may ")
