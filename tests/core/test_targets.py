"""Labels and numbers in the cells and columns of manifests, and in the names of folders."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptapp_core.data.class_folders import list_classes
from ptapp_core.data.folder_targets import as_wanted
from ptapp_core.data.listing import Listing
from ptapp_core.data.manifest import read_manifest
from ptapp_core.data.targets import Flags, Lists, Wanted, numbers, refuse_single
from ptapp_core.data.unread import FileType
from ptapp_core.errors import UserError

FILES = FileType("file", frozenset([".bin"]), lambda file: False, remedy="convert them")
NAMES = st.lists(st.sampled_from(["cat", "dog", "very good", "a-b", "x", "10", "2"]), max_size=4, unique=True)


def table(folder: Path, header: list[str], *rows: list[object]) -> Path:
    """A manifest with a file for each row, whose name is its first column."""
    folder.mkdir(exist_ok=True)
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", *header])
        for number, row in enumerate(rows):
            (folder / f"{number}.bin").write_bytes(bytes([number]))
            writer.writerow([f"{number}.bin", *row])
    return folder / "list.csv"


def listing(file: Path, task: str, columns: str | None = None) -> Listing:
    return read_manifest(file, FILES, segments=False, wanted=Wanted.of(task, columns))[0]


@settings(derandomize=True, deadline=None, max_examples=150)
@given(rows=st.lists(NAMES, min_size=2, max_size=6), form=st.sampled_from(["|", ";", ",", ", ", "json", "python"]))
def test_cells_that_list_labels_are_read_in_every_form(rows: list[list[str]], form: str) -> None:
    def cell(own: list[str]) -> str:
        return json.dumps(own) if form == "json" else repr(own) if form == "python" else form.join(own)

    rows = [*rows, ["cat", "very good"]]  # a separator occurs
    lists = Lists(map(cell, rows))
    assert set(lists.names) == {name for own in rows for name in own}
    for own in rows:
        assert [name for name, value in zip(lists.names, lists.row(cell(own), lists.names), strict=True) if value] == [
            name for name in lists.names if name in own
        ]


def test_labels_apart_by_blanks_are_read_where_nothing_else_is_between_them() -> None:
    lists = Lists(["haze primary", "clear", "", "clear  road"])
    assert lists.names == ("clear", "haze", "primary", "road")
    assert lists.row("", lists.names) == (0.0, 0.0, 0.0, 0.0)
    with pytest.raises(UserError, match="the label 'cloud' is not in the training data"):
        lists.row("cloud", lists.names)


@pytest.mark.parametrize(
    ("header", "rows", "names"),
    [
        (["labels"], [["a|b"], ["a"], [""]], ("a", "b")),
        (["a", "b"], [[1, 1], [1, 0], [0, 0]], ("a", "b")),
        (["a", "b"], [["1.0", "1.0"], ["1.0", "0.0"], ["0.0", "0.0"]], ("a", "b")),
        (["a", "b"], [[1, 1], [1, -1], [-1, -1]], ("a", "b")),
        (["a", "b", "split"], [["yes", "yes", "train"], ["yes", "no", "train"], ["no", "no", "test"]], ("a", "b")),
        (["Finding Labels"], [["a|b"], ["a"], [""]], ("a", "b")),
    ],
)
def test_labels_of_a_manifest(
    header: list[str], rows: list[list[object]], names: tuple[str, ...], tmp_path: Path
) -> None:
    found = listing(table(tmp_path, header, *rows), "multilabel")
    assert found.classes == names
    assert list(found.labels) == [(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]
    assert found.kind == "multilabel"


@pytest.mark.parametrize(
    ("header", "columns", "names"),
    [
        (["age"], None, ("age",)),
        (["age", "site"], None, ("age",)),
        (["height", "site"], None, ("height",)),
        (["height", "weight"], "weight", ("weight",)),
        (["height", "weight"], "weight+HEIGHT", ("weight", "height")),
        (["Patient Age", "weight"], "patient age", ("Patient Age",)),
    ],
)
def test_numbers_of_a_manifest(header: list[str], columns: str | None, names: tuple[str, ...], tmp_path: Path) -> None:
    values = {"site": ["x", "y"]}
    rows = [[values.get(name, [1.5, "-2e3"])[row] for name in header] for row in (0, 1)]
    found = listing(table(tmp_path, header, *rows), "regress", columns)
    assert found.classes == names
    assert list(found.labels) == [(1.5,) * len(names), (-2000.0,) * len(names)]


@pytest.mark.parametrize(
    ("task", "columns", "header", "rows", "line"),
    [
        (
            "regress",
            None,
            ["a", "b"],
            [[1, 2], [2, 3]],
            r"which column is the target\? Give --label-column \(a or b, or",
        ),
        ("regress", None, ["a"], [["x"], ["y"]], "no column holds numbers"),
        (
            "regress",
            None,
            ["score", "likes"],
            [["12 kg", 3], ["3 kg", 4]],
            r"list.csv:2: column score: '12 kg' is no number",
        ),
        ("regress", None, ["score"], [[1], ["-1e39"]], r"list.csv:3: column score: -1e39 is too large"),
        (
            "regress",
            None,
            ["score", "likes"],
            [[1, 3], ["n/a", 4], [2, 5]],
            r"list.csv:3: column score: 'n/a' is no number",
        ),
        (
            "multilabel",
            None,
            ["a", "b"],
            [[1, 1], [0, 0]] * 9 + [[1, 2]],
            r"list.csv:20: column b: '2' is neither 1 nor 0",
        ),
        (
            "multilabel",
            None,
            ["a", "b"],
            [[1, 1], [0, 0]] * 9 + [[1, ""]],
            r"list.csv:20: column b: '' is neither 1 nor 0",
        ),
        (
            "multilabel",
            None,
            ["a", "b"],
            [[1, 1], [0, 0]] * 9 + [[1, -1]],
            r"list.csv:20: column b: '-1' is neither 1 nor 0",
        ),
        ("regress", "a+a", ["a"], [[1], [2]], "a column is named twice"),
        ("regress", "age", ["age"], [[1], [""]], r"list.csv:3: column age: '' is no number"),
        ("regress", "age", ["age"], [[1], ["1,5"]], "'1,5' is no number; write it without separators of thousands"),
        ("regress", "age", ["age"], [[1], ["nan"]], "'nan' is no number"),
        ("regress", "age", ["age"], [[1], ["1_000"]], "'1_000' is no number"),
        ("regress", "agee", ["age"], [[1], [2]], "--label-column agee: .*did you mean 'age'"),
        ("multilabel", "a+b", ["a", "b"], [[1, 2], [0, 1]], "list.csv:2: column b: '2' is neither 1 nor 0"),
        ("multilabel", None, ["site"], [["x"], ["y"]], "no column of labels"),
        ("classify", "a+b", ["a", "b"], [[1, 2], [0, 1]], "a class is in one column; give one, or --task multilabel"),
        ("regress", "a+", ["a"], [[1], [2]], r"a name is missing beside the \+"),
    ],
)
def test_what_is_no_target_is_one_line_that_names_row_and_column(
    task: str, columns: str | None, header: list[str], rows: list[list[object]], line: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=line):
        listing(table(tmp_path, header, *rows), task, columns)


def test_a_class_in_a_column_of_another_name_is_taken_when_it_is_asked_for(tmp_path: Path) -> None:
    found = listing(table(tmp_path, ["label", "site"], ["a", "x"], ["b", "y"]), "classify", "site")
    assert found.classes == ("x", "y")
    assert "column site is taken as the class, not label: --label-column chooses" in found.notes


def folders(root: Path, files: dict[str, bytes]) -> Listing:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return list_classes(root, FILES)


def test_a_file_in_several_folders_has_the_label_of_each(tmp_path: Path) -> None:
    found = as_wanted(
        folders(tmp_path, {"a/1.bin": b"1", "b/1.bin": b"1", "a/2.bin": b"2", "b/2.bin": b"another"}),
        Wanted("multilabel"),
    )
    assert dict(zip(found.names, found.labels, strict=True)) == {
        "a/1.bin": (1.0, 1.0),
        "a/2.bin": (1.0, 0.0),
        "b/2.bin": (0.0, 1.0),
    }


def test_folders_named_by_numbers_are_numbers(tmp_path: Path) -> None:
    found = as_wanted(folders(tmp_path, {"1.5/a.bin": b"1", "20/b.bin": b"2"}), Wanted("regress"))
    assert dict(zip(found.names, found.labels, strict=True)) == {"1.5/a.bin": (1.5,), "20/b.bin": (20.0,)}
    with pytest.raises(UserError, match="'cat' is no number: name the folders by numbers"):
        as_wanted(folders(tmp_path / "other", {"cat/a.bin": b"1", "2/b.bin": b"2"}), Wanted("regress"))
    with pytest.raises(UserError, match=r"--label-column x: .* has no columns"):
        as_wanted(found, Wanted("regress", ("x",)))


@pytest.mark.parametrize(
    ("kind", "targets", "line"),
    [
        ("multilabel", [(1.0, 1.0), (0.0, 1.0)], "every training sample has the label 'b'"),
        ("regress", [(1.0, 2.0), (3.0, 2.0)], "b is 2 in every training sample"),
    ],
)
def test_targets_that_say_nothing_are_refused(kind: str, targets: list[tuple[float, ...]], line: str) -> None:
    with pytest.raises(UserError, match=line):
        refuse_single("data", kind, targets, names=["a", "b"])


@settings(derandomize=True, max_examples=200)
@given(st.lists(st.floats(-3e38, 3e38), min_size=1, max_size=4))
def test_numbers_are_read_exactly(values: list[float]) -> None:
    columns = [f"c{place}" for place in range(len(values))]
    assert numbers([repr(value) for value in values], columns) == tuple(values)


@settings(derandomize=True, max_examples=200)
@given(st.text(max_size=8))
def test_a_cell_is_a_flag_or_refused_never_something_else(cell: str) -> None:
    try:
        found = Flags(["x"], [[cell]]).of([cell])
    except UserError as error:
        found = (float("neither 1 nor 0" in str(error)),)
    assert found[0] in (0.0, 1.0)


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['a' 'b']", ["a", "b"]),
        ("['very good' 'b']", ["very good", "b"]),
        ("(a, b)", ["a", "b"]),
        ("[1 2]", ["1", "2"]),
    ],
)
def test_lists_as_numpy_and_people_write_them(cell: str, labels: list[str]) -> None:
    assert Lists([cell, "[]"]).of(cell) == labels


def scans_of(found: Listing) -> dict[str, set[str]]:
    """The groups of each scan."""
    assert found.groups is not None
    scans: dict[str, set[str]] = {}
    for name, group in zip(found.names, found.groups, strict=True):
        scans.setdefault(name.rpartition("/")[2].partition("_")[0], set()).add(group)
    return scans


@pytest.mark.parametrize(
    ("task", "place"),
    [
        ("classify", lambda scan, piece: scan % 2),
        ("multilabel", lambda scan, piece: piece % 2),
        ("regress", lambda scan, piece: scan + 0.5),
        ("regress", lambda scan, piece: 4 * scan + piece),
    ],
)
@pytest.mark.parametrize("form", ["manifest", "folders"])
def test_pieces_of_a_scan_stay_together_whatever_their_targets(
    task: str, place: Callable[[int, int], float], form: str, tmp_path: Path
) -> None:
    pieces = [(scan, piece, place(scan, piece)) for scan in range(4) for piece in range(4)]
    if form == "folders":
        files = {f"{own}/scan{scan}_{piece}.bin": f"{scan} {piece}".encode() for scan, piece, own in pieces}
        found = as_wanted(folders(tmp_path, files), Wanted(task))
    else:
        for scan, piece, _ in pieces:
            (tmp_path / f"scan{scan}_{piece}.bin").touch()
        lines = [f"scan{scan}_{piece}.bin,{own}" for scan, piece, own in pieces]
        (tmp_path / "list.csv").write_text("\n".join(["file,label", *lines]) + "\n")
        found = listing(tmp_path / "list.csv", task, "label")
    scans = scans_of(found)
    assert len(set.union(*scans.values())) == len(scans) == 4
    assert all(len(groups) == 1 for groups in scans.values())
    assert any("pieces are kept in one split" in line for line in found.said)


def test_files_that_are_numbered_in_each_folder_of_a_number_are_no_pieces(tmp_path: Path) -> None:
    files = {f"{number}/img_{place}.bin": f"{number} {place}".encode() for number in range(4) for place in range(4)}
    assert as_wanted(folders(tmp_path, files), Wanted("regress")).groups is None


def test_columns_of_flags_that_never_change_are_named(tmp_path: Path) -> None:
    found = listing(table(tmp_path, ["a", "b", "threat"], [1, 1, 0], [1, 0, 0], [0, 0, 0]), "multilabel")
    assert found.classes == ("a", "b")
    assert any("left out, for all their cells are the same: columns threat" in note for note in found.notes)
