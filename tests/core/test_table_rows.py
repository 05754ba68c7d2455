"""Tables whose rows are the samples: which column is what, and what is refused."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ptapp_core.data.listing import AUTO
from ptapp_core.data.members import Members
from ptapp_core.data.rows import Divided, Splits
from ptapp_core.data.split import BY_HASH, Division
from ptapp_core.data.table_rows import TableRows, cells_in, offset_of, read_named, tell_of_unseen
from ptapp_core.data.targets import Wanted, is_missing, numbers, odd_classes
from ptapp_core.errors import UserError

EXACT = Division(how="exact")


def table_of(folder: Path, header: str, rows: Sequence[str]) -> Path:
    file = folder / "t.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def rows_of(file: Path, wanted: Wanted = Wanted(), **how: object) -> TableRows:  # noqa: B008
    return TableRows(file, read_named(file), wanted, **how)  # type: ignore[arg-type]


def divide(rows: TableRows, division: Division | None = EXACT) -> Divided:
    return rows.divide(rows.inputs, division, check=lambda cells: None)[0]


@pytest.mark.parametrize(
    ("header", "target"),
    [
        *[
            ("a,b,c", "c"),
            ("a,Label,c", "Label"),
            ("y,b,c", "y"),
            ("a,b,split", "b"),
            ("a,,c", "c"),
            ("split;a;b", "b"),
        ],
        *[("x,y,target", "target"), ("y,Class,x", "Class")],
    ],
)
def test_the_target_has_a_usual_name_or_is_the_last_column(header: str, target: str, tmp_path: Path) -> None:
    separator = ";" if ";" in header else ","
    file = table_of(tmp_path, header, [separator.join(["train"] * 3)])
    rows = rows_of(file)
    assert rows.target.titles == [target]
    columns = [name for name in header.split(separator) if name and name != "split"]
    assert rows.inputs == [name for name in columns if name != target]
    assert rows_of(file, Wanted(columns=(columns[0],))).target.titles == columns[:1]


def test_columns_of_flags_beside_a_class_are_inputs(tmp_path: Path) -> None:
    file = table_of(
        tmp_path, "a,b,c,d", [f"{row % 2},{row // 2 % 2},{row // 4 % 2},{row % 3 % 2}" for row in range(40)]
    )
    assert divide(rows_of(file)).classes == ("0", "1")


def test_rows_of_the_same_cells_are_in_one_split_and_may_have_several_targets(tmp_path: Path) -> None:
    lines = [f"{row % 40},{'xy'[row // 40 % 2]}" for row in range(160)]
    divided = divide(rows_of(table_of(tmp_path, "a,b", lines)), BY_HASH)
    splits = dict(zip(divided.samples.ids, divided.splits, strict=True))
    assert [splits[each] for each in divided.samples.ids] == divided.splits
    assert len(splits) == 40
    assert set(splits.values()) == {"train", "val", "test"}


def test_a_run_of_one_content_under_several_labels_goes_on_and_a_changed_label_is_seen(tmp_path: Path) -> None:
    def members(labels: str) -> Members:
        lines = [f"{row},{label}" for row, label in zip((1, 1, 1, 2, 3), labels, strict=True)]
        return Members.of([("train", divide(rows_of(table_of(tmp_path, "a,b", lines)), None).samples, list(labels))])

    began = members("xyxyx")
    began.refuse_changed_training(Path("run"), members("xyxyx"))
    for other in ("xyyyx", "xyxxx"):
        with pytest.raises(UserError, match="1 with another label"):
            began.refuse_changed_training(Path("run"), members(other))


def test_groups_and_splits_are_those_of_their_columns(tmp_path: Path) -> None:
    lines = [f"{row},{row // 4},{'xy'[row % 2]}" for row in range(80)]
    rows = rows_of(table_of(tmp_path, "a,owner,b", lines), group="owner")
    divided = divide(rows)
    assert rows.inputs == ["a"]
    owners = {(owner, split) for owner, split in zip(divided.samples.groups, divided.splits, strict=True)}
    assert len(owners) == 20
    lines = [f"{line},{['Training', 'dev', 'test'][row % 3]}" for row, line in enumerate(lines)]
    divided = divide(rows_of(table_of(tmp_path, "a,owner,b,split", lines)))
    assert divided.splits[:4] == ["train", "val", "test", "train"]
    assert divided.rows("all") == list(range(80))
    assert divided.rows("val") == list(range(1, 80, 3))


@pytest.mark.parametrize("name", ["patient", "Speaker ID", "subject", "group", "source", "session", "video-id"])
def test_a_column_that_is_called_as_groups_are_is_the_group_and_no_input(name: str, tmp_path: Path) -> None:
    lines = [f"{row},{row // 4},{'xy'[row % 2]}" for row in range(80)]
    file = table_of(tmp_path, f"a,{name},b", lines)
    rows = rows_of(file, group=AUTO)
    divided = divide(rows)
    assert (rows.inputs, rows.group) == (["a"], name)
    assert len(set(zip(divided.samples.groups, divided.splits, strict=True))) == 20
    assert f"grouped by {name}" in divided.about
    assert any(f"column {name} is taken as the group" in note for note in divided.notes)
    for overruled in (rows_of(file), rows_of(file, group=AUTO, inputs=[name])):
        assert (overruled.inputs, overruled.group, divide(overruled).samples.groups) == (["a", name], None, ())
    assert rows_of(file, Wanted(columns=(name,)), group=AUTO).inputs == ["a", "b"]
    assert rows_of(file, group=AUTO, drop=[name]).group == name


def test_of_several_groups_one_is_taken_and_none_is_an_input(tmp_path: Path) -> None:
    lines = [f"{row},{row // 40},{row // 4},{'xy'[row % 2]},{'' if row % 7 else 'u'}" for row in range(80)]
    rows = rows_of(table_of(tmp_path, "a,session,patient,b,lesion", lines), group=AUTO)
    assert (rows.inputs, rows.group, rows.target.titles) == (["a"], "patient", ["b"])
    assert any("and session, lesion as no input" in note for note in divide(rows).notes)
    lesions = rows_of(rows.where, group="lesion")
    assert {*divide(lesions).samples.groups} == {"u", ""}  # rows without one are alone
    assert rows_of(table_of(tmp_path, "a,group", ["1,x", "2,y"]), group=AUTO).target.titles == ["group"]
    lines = [f"{row},1,{row % 2},{row % 4}" for row in range(80)]
    few = rows_of(table_of(tmp_path, "a,site,source,b", lines), group=AUTO)
    with pytest.raises(UserError, match=r"none of which fell into .*column source is taken as the group"):
        divide(few, BY_HASH)


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("a,subset,b", ("Training", "dev", "test")),
        ("a,Partition,b", ("train", "val", "test")),
        ("a,is_val,is_test,b", ("no,no", "yes,no", "no,yes")),
        ("a,is_val,is_test,b", ("0,0", "1,0", "0,1")),
    ],
)
def test_splits_are_read_as_manifests_say_them(header: str, cells: Sequence[str], tmp_path: Path) -> None:
    lines = [f"{row},{cells[row % 3]},{'xy'[row // 3 % 2]}" for row in range(60)]
    rows = rows_of(table_of(tmp_path, header, lines))
    divided = divide(rows)
    assert divided.splits == ["train", "val", "test"] * 20
    names = header.split(",")[1:-1]
    assert any(f"{', '.join(names)}: taken as splits or folds" in note for note in divided.notes)
    assert rows.inputs == ["a"]
    assert rows_of(rows.where, inputs=names).inputs == ["a", *names]


def test_folds_are_read_as_manifests_say_them(tmp_path: Path) -> None:
    lines = [f"{row},fold{row % 4 + 1},{'xy'[row // 4 % 2]}" for row in range(80)]
    rows = rows_of(table_of(tmp_path, "a,fold,b", lines))
    assert rows.inputs == ["a"]
    divided = divide(rows, Division(folds=4, fold=3))
    assert {row % 4 for row in divided.rows("test")} == {2}
    assert len(divided.rows("test")) == 20
    other = table_of(tmp_path, "a,subset,b", [f"{row},{'ab'[row % 2]},x" for row in range(9)])
    assert rows_of(other).inputs == ["a", "subset"]  # not all of it are splits


def test_which_column_was_taken_as_the_target_is_said_where_several_could_be(tmp_path: Path) -> None:
    file = table_of(tmp_path, "x,y,target", [f"{row},{row % 4},{'xy'[row % 2]}" for row in range(60)])
    rows = rows_of(file)
    assert rows.inputs == ["x", "y"]
    assert "numbers: x, y" in divide(rows).notes
    assert any("column target is taken as the target, and y as an input" in note for note in divide(rows).notes)
    for other in (rows_of(file, drop=["y"]), rows_of(file, Wanted(columns=("y",)))):
        assert not any("is taken as the target" in note for note in divide(other).notes)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("a,b,split", ["1,x,train", "2,y,later"], r"t.csv:3: split 'later' is none of train, val, test"),
        ("a,b", ["1,x", "2,"], r"t.csv:3: column b has no class"),
        ("a,b", ["1,x", "z,y"], r"t.csv:3: column a: 'z' is no number"),
        ("a,b", ["1,x", "2,y,3"], r"t.csv:3: 3 cells where the header has 2 columns"),
    ],
)
def test_a_bad_row_is_named_or_left_out(header: str, rows: Sequence[str], message: str, tmp_path: Path) -> None:
    file = table_of(tmp_path, header, rows)
    with pytest.raises(UserError, match=message):
        rows_of(file).divide(["a"], None, check=lambda cells: numbers(cells, ["a"]))
    kept = TableRows(file, read_named(file, skip_bad=True), Wanted())
    divided, cells = kept.divide(["a"], None, check=lambda cells: numbers(cells, ["a"]), skip_bad=True)
    assert (cells, divided.about.count("1 bad row left out")) == ([["1"]], 1)
    assert divided.samples.names == ["t.csv:2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3,4\n", "t.csv:1: has no names of columns"),
        ("a,b,a\n1,2,3\n", "t.csv:1: column a is there twice"),
        ("a,b\n", "t.csv: holds no row"),
        ("", "t.csv:1: has no names"),
    ],
)
def test_a_table_without_names_or_rows_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_named(tmp_path / "t.csv")


def test_a_column_holds_numbers_where_all_cells_but_missing_ones_do(tmp_path: Path) -> None:
    rows = rows_of(table_of(tmp_path, "a,b,c,d,e,f", ["1,?,,x,1e3,y", "NA,2,,1,inf,y", "-3.5,4,,2,5,y"]))
    assert (rows.numbers, rows.categories) == (["a", "b"], ["c", "d", "e"])
    assert is_missing("NaN")
    assert not is_missing("0")


@pytest.mark.parametrize("cell", ["1,5", "-", "inf", "1_0", "unknown"])
def test_a_cell_that_is_no_number_among_many_is_refused_and_makes_no_categories(cell: str, tmp_path: Path) -> None:
    lines = [f"{row};{row};{'xy'[row % 2]}" for row in range(40)]
    lines[20] = f"1;{cell};x"
    file = table_of(tmp_path, "a;b;c", lines)
    rows = rows_of(file)
    assert rows.numbers == ["a", "b"]

    def check(cells: Sequence[str]) -> None:
        numbers(cells, ["b"])

    says = rf"t.csv:22: column b: '{cell}' is no number.* --skip-bad, or make categories of .* --category b"
    with pytest.raises(UserError, match=says):
        rows.divide(["b"], EXACT, check=check)
    assert "1 bad row left out" in rows.divide(["b"], EXACT, check=check, skip_bad=True)[0].about
    named = rows_of(file, inputs=["b"])
    assert (named.numbers, named.categories) == (["a"], ["b"])


@pytest.mark.parametrize("cell", ["12,5", "1,234.5", "1 200", "12.3%", "12 %", "$5.20", "€ 3", "-0,5", "1'000"])
def test_numbers_that_are_written_otherwise_make_no_categories(cell: str, tmp_path: Path) -> None:
    lines = [f"{row};{cell if row % 3 else '7'};{'xy'[row % 2]}" for row in range(40)]
    file = table_of(tmp_path, "a;b;c", lines)
    says = rf"t.csv:3: column b: ['\"]{re.escape(cell)}['\"] is no number; .* or give --category b"
    with pytest.raises(UserError, match=says):
        rows_of(file).numbers  # noqa: B018
    assert rows_of(file, inputs=["b"]).categories == ["b"]


@pytest.mark.parametrize("cell", ["12-5", "3x", "A1", "1.2.3.4-b", "12:30", "2020-01-05"])
def test_words_with_digits_are_categories(cell: str, tmp_path: Path) -> None:
    file = table_of(tmp_path, "a;b;c", [f"{row};{cell};{'xy'[row % 2]}" for row in range(40)])
    assert rows_of(file).categories == ["b"]


@pytest.mark.parametrize(
    "name", ["patient_id", "Patient ID", "PatientID", "patientId", "SUBJECT", "SpeakerID", "user_id"]
)
def test_a_group_is_known_however_its_name_is_written(name: str, tmp_path: Path) -> None:
    file = table_of(tmp_path, f"a;{name};c", [f"{row};p{row // 4};{'xy'[row % 2]}" for row in range(40)])
    assert rows_of(file, group=AUTO).group == name


def test_classes_that_are_written_as_missing_or_twice_as_one_number_are_named() -> None:
    assert odd_classes(["a", "b", "1", "2"]) == []
    (missing,) = odd_classes(["a", "NaN"])
    assert missing.startswith("class 'NaN' is written as a missing label is")
    (twice,) = odd_classes(["0", "1", "1.0"])
    assert twice.startswith("classes '1' and '1.0' are one number")


def test_cells_of_categories_that_were_not_seen_are_counted_by_column(capsys: pytest.CaptureFixture[str]) -> None:
    known: dict[str, Any] = {"a": None, "colour": ["red", "7"], "place": {"wood": 1}}
    tell_of_unseen([["1", "red", "wood"], ["2", "7", ""], ["3", "?", "wood"]], known)
    tell_of_unseen([], known)
    assert capsys.readouterr() == ("", "")
    tell_of_unseen([["1", "7.0", "wood"], ["2", "blue", "sea"]], known)
    said = "2 cells of column colour (the first is '7.0'), 1 cell of column place (the first is 'sea')"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("begin", "step"), [(1.7e9, 0.25), (-1e12, 3.0), (1.0, 1e-5), (45_000.5, 0.1)])
def test_numbers_far_from_nought_keep_in_float32_what_differs(begin: float, step: float) -> None:
    cells = [repr(begin + step * row) for row in range(40)]
    offset = offset_of([*cells, "", "NA"])
    kept = torch.tensor([float(cell) - offset for cell in cells], dtype=torch.float32).double()
    assert torch.allclose(kept.diff(), torch.full((39,), step, dtype=torch.float64), rtol=1e-2)


def test_other_numbers_are_left_as_they_are() -> None:
    for cells in (["1", "2", "3"], ["2001", "2020", "1980"], ["1.7e9"] * 3, ["", "?"], [], ["3e38", "-3e38"]):
        assert offset_of(cells) == 0


def test_the_cells_of_a_table_come_in_the_order_asked_for(tmp_path: Path) -> None:
    file = table_of(tmp_path, "a,b,c", ["1,2,3", "4,5,6"])
    assert list(cells_in(file, ["c", "a"])) == [(f"{file}:2", ["3", "1"]), (f"{file}:3", ["6", "4"])]
    with pytest.raises(UserError, match=r"t\.csv:1: column d is missing; known: a, b, c"):
        list(cells_in(file, ["d"]))


def test_the_splits_of_rows_hold_each_sample_once(tmp_path: Path) -> None:
    divided = divide(rows_of(table_of(tmp_path, "a,b", [f"{row},{'xy'[row % 2]}" for row in range(60)])))
    data = Splits(divided, torch.arange(60.0)[:, None], made=False)
    parts = [data.part(name) for name in ("train", "val", "test")]
    assert sorted(torch.cat([part.inputs for part in parts]).flatten().tolist()) == list(range(60))
    assert len(data.part("all")) == len(data.members.rows) == 60
    assert {row.label for row in data.members.rows} == {"x", "y"}
