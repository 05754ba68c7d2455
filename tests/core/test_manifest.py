"""Manifests as spreadsheets and annotation programs write them, and what is refused in them."""

import codecs
import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.tables import WAVS, few, read, refusal, table
from ptapp_core.data.columns import FILE, GROUP, LABEL
from ptapp_core.data.manifest import is_manifest, read_manifest
from ptapp_core.errors import UserError


@few
@given(
    separator=st.sampled_from([",", ";", "\t", "|"]),
    names=st.tuples(st.sampled_from(FILE), st.sampled_from(LABEL), st.sampled_from(GROUP)),
    upper=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    excel=st.booleans(),
    suffix=st.booleans(),
    classes=st.lists(st.sampled_from(["dog", "Müll", "a b", "x-y", 'say "hi"']), min_size=2, max_size=2, unique=True),
)
def test_every_usual_form_of_a_table_is_read_alike(
    tmp_path: Path,
    separator: str,
    names: tuple[str, str, str],
    upper: bool,
    encoding: str,
    line_end: str,
    excel: bool,
    suffix: bool,
    classes: list[str],
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=line_end)
    writer.writerow([name.replace("_", " ").title() if upper else name for name in names])
    for number, file in enumerate(("a.wav", "b.wav", "c.wav")):
        (tmp_path / file).write_bytes(b"x")
        writer.writerow([file if suffix else file[0], classes[number % 2], f"who{number}"])
    content = (f"sep={separator}{line_end}" if excel else "") + text.getvalue()
    (tmp_path / "m.csv").write_bytes(content.encode(encoding))
    assert is_manifest(tmp_path / "m.csv")
    listing = read(tmp_path / "m.csv")
    assert [file.name for file in listing.files] == ["a.wav", "b.wav", "c.wav"]
    assert [listing.classes[label] for label in listing.labels] == [classes[0], classes[1], classes[0]]
    assert listing.groups == ["who0", "who1", "who2"]
    assert listing.parts is None
    assert listing.spans is None


@few
@given(
    order=st.permutations(["filename", "label", "note"]),
    notes=st.lists(st.sampled_from(["", "loud", "loud, far", ",", "a,,b", "far,"]), min_size=3, max_size=3),
)
def test_a_row_whose_cells_are_moved_by_a_separator_is_never_read(
    tmp_path: Path, order: list[str], notes: list[str]
) -> None:
    rows = [
        ",".join({"filename": f"{name}.wav", "label": f"of {name}", "note": note}[column] for column in order)
        for name, note in zip("abc", notes, strict=True)
    ]
    file = table(tmp_path, ",".join(order), *rows)
    sound = [name for name, note in zip("abc", notes, strict=True) if "," not in note]
    if len(sound) < 3:
        number = next(number for number, note in enumerate(notes, start=2) if "," in note)
        assert f"m.csv:{number}: {3 + notes[number - 2].count(',')} cells where the header has 3" in refusal(file)
    if sound:
        listing, skipped = read_manifest(file, WAVS, segments=True, skip_bad=True)
        assert [listing.classes[label] for label in listing.labels] == [f"of {name}" for name in sound]
        assert len(skipped) == 3 - len(sound)


@few
@given(
    known=st.sampled_from(["", "filename", "label", "weight"]),
    others=st.lists(st.sampled_from(["fnames", "kind", "sound no", "Größe", "x" * 90]), min_size=1, unique=True),
)
def test_a_table_without_known_columns_is_told_what_it_has_and_what_to_rename(
    tmp_path: Path, known: str, others: list[str]
) -> None:
    columns = [*filter(None, [known]), *others]
    told = refusal(table(tmp_path, ",".join(columns), ",".join("a" for _ in columns)))
    assert f"its columns are {', '.join(c if len(c) < 25 else c[:24] + '...' for c in columns)};" in told
    assert ("rename the column of the files to filename" in told) == (known != "filename")
    assert ("the column of the classes to category" in told) == (known != "label")
    assert len(told) < len(str(tmp_path)) + 400


def test_an_empty_table_is_called_so(tmp_path: Path) -> None:
    assert "m.csv:1: not a manifest: it is empty" in refusal(table(tmp_path, ""))


@few
@given(st.lists(st.sampled_from(["label2", "weight", "bbox", "age", "rater"]), unique=True))
def test_columns_from_which_nothing_is_taken_are_named(tmp_path: Path, others: list[str]) -> None:
    header = ",".join(["filename", "label", "split", "patient", *others])
    rows = [
        f"{name},{'xy'[at % 2]},{'train' if at else 'test'},{name}{',1' * len(others)}" for at, name in enumerate("abc")
    ]
    listing = read(table(tmp_path, header, *rows))
    lines = [line for line in listing.said if "not read" in line]
    assert lines == ([f"columns of {tmp_path}/m.csv that are not read: {', '.join(others)}"] if others else [])
    for chosen in others:  # as what stays together it is read
        for other in (listing.grouped(chosen), listing.split_by(chosen)):
            assert other.unread == tuple(name for name in others if name != chosen)


@few
@given(names=st.lists(st.sampled_from(LABEL), min_size=2, max_size=4, unique=True))
def test_which_column_was_taken_as_the_class_is_said_where_several_could_be(tmp_path: Path, names: list[str]) -> None:
    rows = [",".join([file, *(f"{file}{place}" for place in range(len(names)))]) for file in "ab"]
    listing = read(table(tmp_path, ",".join(["filename", *names]), *rows))
    taken = min(names, key=LABEL.index)
    assert listing.classes == tuple(f"{file}{names.index(taken)}" for file in "ab")
    others = " or ".join(name for name in names if name != taken)
    assert listing.notes == (f"column {taken} is taken as the class, not {others}: --label-column chooses",)
    assert listing.unread == ()


@few
@given(
    name=st.sampled_from(["split", "Split"]),
    cells=st.permutations("012"),
)
def test_numbers_of_splits_are_those_of_wilds(tmp_path: Path, name: str, cells: list[str]) -> None:
    rows = [f"{file},x,{cell}" for file, cell in zip("abc", cells, strict=True)]
    listing = read(table(tmp_path, f"filename,label,{name}", *rows))
    assert listing.parts == [{"0": "train", "1": "val", "2": "test"}[cell] for cell in cells]


def test_a_class_with_a_comma_whose_parts_stand_nowhere_else_gets_a_line(tmp_path: Path) -> None:
    listing = read(table(tmp_path, "filename,label", 'a,"dog,animal"', "b,cat", 'c,"owl, barn"'))
    assert listing.notes == (
        "a class is called 'dog,animal' (and 1 more with commas): if a comma stands between two classes, give --task "
        "multilabel",
    )


@pytest.mark.parametrize("name", ["set", "usage", "partition"])
def test_other_numbers_are_no_splits(tmp_path: Path, name: str) -> None:
    rows = [f"{file},x,{cell}" for file, cell in zip("abc", "012", strict=True)]
    listing = read(table(tmp_path, f"filename,label,{name}", *rows))
    assert not listing.parts
    assert listing.unread == (name,)


@few
@given(
    flags=st.lists(st.sampled_from(["is_train", "is_valid", "is_test"]), min_size=1, unique=True),
    words=st.sampled_from([("1", "0"), ("True", "False"), ("yes", "no"), ("1.0", "0.0")]),
    splits=st.lists(st.sampled_from(["train", "val", "test"]), min_size=3, max_size=3),
)
def test_columns_that_say_yes_or_no_to_a_split_divide(
    tmp_path: Path, flags: list[str], words: tuple[str, str], splits: list[str]
) -> None:
    meant = {"is_train": "train", "is_valid": "val", "is_test": "test"}
    rows = [
        ",".join([file, "x", *(words[meant[flag] != split] for flag in flags)])
        for file, split in zip("abc", splits, strict=True)
    ]
    file = table(tmp_path, ",".join(["filename", "label", *flags]), *rows)
    covered = {meant[flag] for flag in flags}
    rest = "train" if "train" not in covered else "test" if covered == {"train"} else None
    expected = [split if split in covered else rest for split in splits]
    if None in expected:
        assert f"m.csv:{expected.index(None) + 2}: {', '.join(flags)} say 0 splits for this row" in refusal(file)
    else:
        assert read(file).parts == expected


def test_a_row_in_two_splits_is_refused(tmp_path: Path) -> None:
    told = refusal(table(tmp_path, "filename,label,is_test,is_val", "a,x,1,1", "b,y,0,0"))
    assert "m.csv:2: is_test, is_val say 2 splits for this row, and a sample is in one" in told


@few
@given(st.lists(st.floats(-9, 9).map(lambda number: round(number, 2)), min_size=3, max_size=3))
def test_measurements_are_no_classes_and_whole_numbers_are(tmp_path: Path, values: list[float]) -> None:
    file = table(tmp_path, "filename,label", *(f"{name},{value}" for name, value in zip("abc", values, strict=True)))
    decimals = [value for value in values if value % 1]
    if decimals:
        assert f"label '{decimals[0]}' is a measurement: give --task regress" in refusal(file)
    else:
        assert len(read(file).files) == 3
    rows = [f"{name},v{value}" for name, value in zip("abc", values, strict=True)]
    assert len(read(table(tmp_path, "filename,label", *rows)).files) == 3


def test_a_table_of_other_bytes_is_refused_with_what_to_do(tmp_path: Path) -> None:
    file = table(tmp_path, "filename,label", "a.wav,x")
    file.write_bytes("filename,label\na.wav,Müll\n".encode("cp1252"))
    assert "not a text in UTF-8" in refusal(file)
    assert "save it as CSV UTF-8" in refusal(file)
    file.write_bytes(codecs.BOM_UTF16_LE + b"f")
    assert "m.csv" in refusal(file)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("Training", "validation", "TEST"), ["train", "val", "test"]),
        (("train_set", "dev", "eval"), ["train", "val", "test"]),
        (("Training", "PublicTest", "PrivateTest"), ["train", "val", "test"]),
        (("trn", "devel", "tst"), ["train", "val", "test"]),
    ],
)
@pytest.mark.parametrize("column", ["split", "subset", "Partition", "Usage"])
def test_splits_are_called_as_folders_are(
    column: str, values: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    rows = [f"{file},x{number},{value}" for number, (file, value) in enumerate(zip("abc", values, strict=True))]
    assert read(table(tmp_path, f"filename,label,{column}", *rows)).parts == expected


def test_a_column_of_another_name_is_the_split_only_where_most_of_it_are_splits(tmp_path: Path) -> None:
    assert read(table(tmp_path, "filename,label,subset", "a,x,train", "b,y,outdoor")).parts is None
    file = table(tmp_path, "filename,label,subset", "a,x,train", "b,y,outdoor", "c,y,test")
    assert "m.csv:3: split 'outdoor' is none of train, val, test" in refusal(file)
    file = table(tmp_path, "filename,label,split", "a,x,train", "b,y,outdoor")
    assert "m.csv:3: split 'outdoor' is none of train, val, test" in refusal(file)


def test_a_file_twice_is_refused(tmp_path: Path) -> None:
    assert ":2 and" in refusal(table(tmp_path, "filename,label", "a.wav,dog", "a.wav,animal"))
    assert "is there twice" in refusal(table(tmp_path, "filename,label", "a.wav,dog", "a,dog"))


@few
@given(
    separator=st.sampled_from([",", ";", "|", ", "]),
    cells=st.lists(st.lists(st.sampled_from("pqr"), min_size=1, max_size=3, unique=True), min_size=3, max_size=3),
)
def test_several_classes_in_a_cell_are_never_a_class_of_that_name(
    tmp_path: Path, separator: str, cells: list[list[str]]
) -> None:
    rows = [f'{file},"{separator.join(cell)}"' for file, cell in zip("abc", cells, strict=True)]
    file = table(tmp_path, "filename,label", *rows)
    several = [cell for cell in cells if len(cell) > 1]
    recur = {part for cell in several for part in cell if sum(part in each for each in {*map(tuple, cells)}) > 1}
    if recur or (several and separator in ";|"):
        assert "looks like several classes" in refusal(file)
    else:
        assert len(read(file).files) == 3


def test_a_name_with_a_comma_is_a_class(tmp_path: Path) -> None:
    rows = ['a,"tench, Tinca tinca"', 'b,"goldfish, Carassius auratus"', 'c,"tench, Tinca tinca"']
    assert read(table(tmp_path, "filename,label", *rows)).classes == (
        "goldfish, Carassius auratus",
        "tench, Tinca tinca",
    )


@pytest.mark.parametrize("cell", ["['dog', 'cat']", '[""dog""]'])
def test_a_list_in_a_cell_is_refused(cell: str, tmp_path: Path) -> None:
    assert "looks like several classes" in refusal(table(tmp_path, "filename,label", f'a,"{cell}"', "b,x"))


def test_columns_of_nought_and_one_are_refused(tmp_path: Path) -> None:
    told = refusal(table(tmp_path, "filename,toxic,obscene,threat", "a,0,1,1", "b,1,0,0", "c,0,0,1"))
    assert "columns toxic, obscene, threat: 0 and 1 in several columns are several labels" in told
    told = refusal(table(tmp_path, "filename,label,obscene,threat", "a,0,1,1", "b,1,0,0", "c,0,0,1"))
    assert "m.csv:1: columns label, obscene, threat" in told
    assert read(table(tmp_path, "filename,label,indoor", "a,0,1", "b,1,0", "c,0,1")).classes == ("0", "1")


def test_a_group_is_taken_by_its_columns_name_and_said(tmp_path: Path) -> None:
    rows = ["a,x,p1,s1,u", "b,y,p1,s2,u", "c,x,,s2,u"]
    listing = read(table(tmp_path, "filename,label,patient,session,source", *rows))
    assert listing.groups == ["p1", "p1", "c"]
    assert listing.group_note == (
        "column patient is taken as the group that stays in one split, not session: --group-column chooses"
    )
    assert listing.grouped("session").groups == ["s1", "s2", "s2"]
    assert listing.grouped("Source").groups == ["u", "u", "u"]
    assert (listing.grouped(None).groups, listing.grouped(None).group_note) == (None, "")
    assert listing.split_by("session").folds == [1, 2, 2]
    with pytest.raises(UserError, match=r"--group-column sesion: .*m\.csv .* did you mean 'session'"):
        listing.grouped("sesion")


def test_pieces_in_a_manifest_stay_together(tmp_path: Path) -> None:
    files = [f"rec{number}_{piece}.wav" for number in range(4) for piece in range(3)]
    rows = [f"{file},{'xy'[number // 6]}" for number, file in enumerate(files)]
    listing = read(table(tmp_path, "filename,label", *rows, files=files))
    assert listing.groups == [file[:4] for file in files]
    assert "look like pieces of one recording" in listing.group_note
    assert listing.grouped(None).groups is None


def test_files_are_found_where_sets_keep_them(tmp_path: Path) -> None:
    lines = ["filename,label", "a.wav,x", "b.wav,y", "c.wav,x"]
    for place, name in (("audio/", "m.csv"), ("audio/", "meta/m.csv"), ("deep/er/", "m.csv")):
        root = tmp_path / f"{place}{name}".replace("/", "-")
        listing = read(table(root, *lines, name=name, files=[place + file for file in ("a.wav", "b.wav", "c.wav")]))
        assert [file.relative_to(root).as_posix() for file in listing.files] == [f"{place}{each}.wav" for each in "abc"]
    file = table(tmp_path / "twice", *lines, files=["1/a.wav", "2/a.wav", "b.wav", "c.wav"])
    assert "m.csv:2: a.wav: which of" in refusal(file)
    assert read(table(tmp_path / "windows", "filename,label", "1\\a.wav,x", files=["1/a.wav"])).labels == [0]
    assert "m.csv:2: d.wav: no such file" in refusal(table(tmp_path, "filename,label", "d.wav,x"))
