"""Data recognised from what is there, and fold discipline."""

import csv
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import ptapp_audio.data.recognise
from contract.of_audio import RATE, write_sounds
from divisions import EXACT
from ptapp_audio.data.clips import Clips, Windows, spread
from ptapp_audio.data.recognise import recognise
from ptapp_audio.data.splits import Splits
from ptapp_core.data.listing import Listing
from ptapp_core.data.split import Division, Known, Samples, SplitName, assign
from ptapp_core.errors import UserError

load = partial(ptapp_audio.data.recognise.load, division=EXACT)


ESC10 = Path(__file__).resolve().parents[3] / "shared" / "data" / "esc10"
FSDD = Path(__file__).resolve().parents[3] / "shared" / "data" / "fsdd"


def write(file: Path, value: float = 0.1) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, np.full(50, value), RATE)


def write_manifest(folder: Path, folds: int = 3) -> Path:
    """Two classes of recordings with three takes each, in `folds` folds."""
    rows = []
    for fold in range(1, folds + 1):
        for label in ("cat", "dog"):
            for recording in range(4):
                for take in "ABC":
                    name = f"{fold}-{fold}{recording}{len(label) + ord(label[0])}-{take}.wav"
                    write(folder / "audio" / name)
                    rows.append([name, str(fold), label])
    with (folder / "meta.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["filename", "fold", "category"], *rows])
    return folder / "meta.csv"


def names(data: Splits) -> dict[str, list[str]]:
    return {split: list(getattr(data, split).names) for split in ("train", "val", "test")}


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


def test_clips_of_one_recording_on_two_sides_are_refused(tmp_path: Path) -> None:
    lines = ["filename,category,split,src_file"]
    for row, (split, recording) in enumerate([("train", "x"), ("train", "y"), ("val", "z"), ("test", "y")] * 2):
        write(tmp_path / "audio" / f"{row}.wav")
        lines.append(f"{row}.wav,{'cat' if row < 4 else 'dog'},{split},{recording}{row // 4}")
    (tmp_path / "meta.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="the group 'y0' are in train and in test"):
        load(str(tmp_path))


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


def test_files_of_one_name_in_two_folders_are_two_recordings(tmp_path: Path) -> None:
    lines = ["filename,category"]
    for label in ("cat", "dog"):
        for row in range(10):
            write(tmp_path / f"{label}{row}" / "audio.wav")
            lines.append(f"{label}{row}/audio.wav,{label}")
    (tmp_path / "meta.csv").write_text("\n".join(lines) + "\n")
    data = load(str(tmp_path))
    assert [len(data.train), len(data.val), len(data.test)] == [16, 2, 2]


def test_a_class_without_a_training_sound_is_named(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        write(tmp_path / "small" / label / "only.wav")
    with pytest.raises(UserError, match="'cat' has 1 sample, too few to divide"):
        load(str(tmp_path / "small"))
    folder = write_sounds(tmp_path / "sounds", 5)
    for file in (folder / "rising").iterdir():
        file.write_text("no sound")
    with pytest.raises(UserError, match="'rising': none of its sounds can be read"):
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


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_no_recording_is_on_both_sides(fold: int, tmp_path: Path) -> None:
    file = write_manifest(tmp_path)
    division = replace(EXACT, fold=fold)
    for data in (load(str(file), division=division), load(str(tmp_path), division=division)):
        sides = [{Path(name).name.split("-")[1] for name in own} for own in names(data).values()]
        assert all(sides)
        assert len(set.union(*sides)) == sum(map(len, sides))
        assert {Path(name).name[0] for name in data.test.names} == {str(fold)}


def test_recordings_that_the_names_in_class_folders_tell_stay_on_one_side(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        for recording in range(12):
            for take in "ABC":
                write(tmp_path / label / f"1-{recording}{len(label) + ord(label[0])}-{take}.wav")
    for data in (load(str(tmp_path)), load(str(tmp_path), division=replace(EXACT, fold=1, folds=3))):
        sides = [{Path(name).name.split("-")[1] for name in own} for own in names(data).values()]
        assert all(sides)
        assert len(set.union(*sides)) == sum(map(len, sides)) == 24


def test_made_folds_keep_recordings_whole_and_classes_even(tmp_path: Path) -> None:
    file = write_manifest(tmp_path, folds=1)
    text = file.read_text().replace(",1,", ",").replace("fold,", "")
    file.write_text(text)
    seen: list[str] = []
    for fold in (1, 2):
        data = load(str(file), division=replace(EXACT, fold=fold, folds=2))
        assert data.test.labels.bincount().tolist() == [6, 6]
        groups = [{Path(name).name.split("-")[1] for name in own} for own in names(data).values()]
        assert not groups[0] & groups[2]
        seen += data.test.names
    assert len(set(seen)) == 24
    with pytest.raises(UserError, match="--folds"):
        load(str(file), division=replace(EXACT, fold=1))
    with pytest.raises(UserError, match=r"--folds 30: .* has 8 groups to divide; give"):  # at the first of them
        load(str(file), division=replace(EXACT, fold=1, folds=30))


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


def parts_of(listing: Listing, division: Division) -> list[SplitName | None]:
    samples = Samples(listing.names, listing.names, groups=listing.groups or ())
    known = Known(listing.where, listing.labels, listing.classes, listing.parts or (), listing.folds or ())
    return list(assign(samples, known, division).parts)


def write_segments(folder: Path, *rows: str, rate: int = RATE) -> Path:
    """A manifest of segments of 4 long files, each a ramp of 2 s."""
    for name in "abcd":
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "audio" / f"{name}.wav", np.linspace(0, 0.9, 2 * rate), rate)
    (folder / "m.csv").write_text("\n".join(["filename,start,end,label", *rows]) + "\n")
    return folder


ROWS = [
    f"{name}.wav,{begin},{begin + 0.5},{label}" for name in "abcd" for begin, label in ((0.0, "low"), (1.25, "high"))
]


def test_a_segment_is_cut_from_its_file(tmp_path: Path) -> None:
    data = load(str(write_segments(tmp_path, *ROWS)), rate=RATE)
    clips = data.part("all")
    assert len(clips) == 8
    for row, name in enumerate(clips.names):
        begin = float(name.partition("[")[2].partition("-")[0])
        own = clips.samples[clips.starts[row] :][: clips.lengths[row]]
        assert len(own) == RATE // 2
        assert float(own[0]) / 32768 == pytest.approx(0.9 * begin / 2, abs=1e-3)
    assert names(data)["train"][0].endswith("]")
    files = [{name.partition("[")[0] for name in own} for own in names(data).values()]
    assert all(files)
    assert sum(map(len, files)) == 4  # segments of a file stay together


def test_a_segment_beyond_its_file_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_segments(tmp_path, *ROWS, "a.wav,1.8,2.5,high")
    with pytest.raises(UserError, match=r"m\.csv: a\.wav\[1\.8-2\.5\]: the file is 2\.000 s long; correct"):
        load(str(folder))
    assert len(load(str(folder), skip_bad=True).part("all")) == 8
    assert len(load(str(write_segments(tmp_path, *ROWS, "a.wav,1.8,2.01,high"))).part("all")) == 9  # rounded


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


def test_pieces_of_a_recording_stay_together_unless_told_otherwise(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        for recording in range(8):
            for piece in range(4):
                write(tmp_path / label / f"{label}{recording}x_{piece}.wav")
    data = load(str(tmp_path))
    sides = [{name.rpartition("_")[0] for name in own} for own in names(data).values()]
    assert all(sides)
    assert sum(map(len, sides)) == 16
    assert "look like pieces of one recording" in data.notes[0]
    data = load(str(tmp_path), group_column=None)
    assert data.notes == ()
    assert sum(len({name.rpartition("_")[0] for name in own}) for own in names(data).values()) > 16


def test_a_division_that_the_groups_make_impossible_says_what_they_are(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        for piece in range(20):
            write(tmp_path / label / f"{label}{'ab'[piece % 2]}_{piece // 2}.wav")
    with pytest.raises(UserError, match=r"class .* \(names such as .*--group-column none divides them\)"):
        load(str(tmp_path))


@pytest.mark.parametrize("option", ["group_column", "split_by"])
def test_a_column_that_is_asked_for_divides(option: str, tmp_path: Path) -> None:
    lines = ["filename,label,who,split"]
    for row in range(40):
        write(tmp_path / f"{row}q.wav")
        lines.append(f"{row}q.wav,{'xy'[row % 2]},who{row // 8},{'test' if row >= 32 else 'train'}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    data = load(str(tmp_path), **{option: "who"})  # type: ignore[arg-type]
    who = {int(Path(name).stem[:-1]) // 8 for name in data.test.names}
    assert who == ({4} if option == "group_column" else {0})
    with pytest.raises(UserError, match=r"--(group-column|split-by) whom: .* did you mean 'who'"):
        load(str(tmp_path), **{option: "whom"})  # type: ignore[arg-type]


@pytest.mark.shared_data
@pytest.mark.parametrize("fold", [1, 2, 3])
def test_esc10s_recordings_stay_in_their_folds(fold: int) -> None:
    if not ESC10.is_dir():
        pytest.skip("ESC-10 is not in ../shared/data/esc10")
    listing, _ = recognise(str(ESC10))
    parts = parts_of(listing, Division(fold=fold, how="exact"))
    assert (parts.count("test"), len(listing.classes)) == (80, 10)
    assert listing.groups is not None
    sides = [{g for g, part in zip(listing.groups, parts, strict=True) if part == own} for own in set(parts)]
    assert sum(map(len, sides)) == len(set.union(*sides))


@pytest.mark.shared_data
def test_the_spoken_digits_official_split() -> None:
    if not FSDD.is_dir():
        pytest.skip("spoken digits are not in ../shared/data/fsdd")
    listing, _ = recognise(str(FSDD))
    parts = parts_of(listing, Division())
    assert parts.count("test") == 250
    assert 190 < parts.count("val") < 310  # approximately a tenth


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
        (folder / "low" / f"{number}.xyz").write_bytes(b"no sound of any kind")
    data = load(str(folder))
    assert [note for note in data.notes if "4 files cannot be read as sounds (4 .xyz; the first is " in note]
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
