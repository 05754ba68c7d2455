"""Recordings, folds and groups stay on one side of a split; segments are cut from their files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio.sets import load, names, write, write_manifest
from contract.of_audio import RATE
from divisions import EXACT
from ptapp_audio.data.recognise import recognise
from ptapp_core.data.listing import Listing
from ptapp_core.data.split import Division, Known, Samples, SplitName, assign
from ptapp_core.errors import UserError

ESC10 = Path(__file__).resolve().parents[3] / "shared" / "data" / "esc10"
FSDD = Path(__file__).resolve().parents[3] / "shared" / "data" / "fsdd"


def test_clips_of_one_recording_on_two_sides_are_refused(tmp_path: Path) -> None:
    lines = ["filename,category,split,src_file"]
    for row, (split, recording) in enumerate([("train", "x"), ("train", "y"), ("val", "z"), ("test", "y")] * 2):
        write(tmp_path / "audio" / f"{row}.wav")
        lines.append(f"{row}.wav,{'cat' if row < 4 else 'dog'},{split},{recording}{row // 4}")
    (tmp_path / "meta.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="the group 'y0' are in train and in test"):
        load(str(tmp_path))


def test_files_of_one_name_in_two_folders_are_two_recordings(tmp_path: Path) -> None:
    lines = ["filename,category"]
    for label in ("cat", "dog"):
        for row in range(10):
            write(tmp_path / f"{label}{row}" / "audio.wav")
            lines.append(f"{label}{row}/audio.wav,{label}")
    (tmp_path / "meta.csv").write_text("\n".join(lines) + "\n")
    data = load(str(tmp_path))
    assert [len(data.train), len(data.val), len(data.test)] == [16, 2, 2]


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
