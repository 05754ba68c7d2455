"""A folder of samples: every file in it is used, is counted by its suffix, or is a text beside the samples."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptapp_core.data.class_folders import files_below, files_named, files_of_splits
from ptapp_core.data.unread import FileType, left_out
from ptapp_core.errors import UserError
from ptapp_core.measure.results import class_numbers


def is_thing(file: Path) -> bool:
    return file.read_bytes().startswith(b"THING")


THINGS = FileType("thing", frozenset([".thing"]), is_thing, remedy="convert them with `thingify`")


def put(file: Path, content: bytes = b"x") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


names = st.sampled_from(["a.thing", "B.THING", "c.heic", "d", "e.m4a", "notes.txt", "labels.CSV", ".hidden", "g.heic"])
folders = st.sampled_from(["", "cat", "dog", "cat/deep", "dog/more/deeper"])


@settings(derandomize=True, deadline=None, max_examples=60)
@given(files=st.dictionaries(st.tuples(folders, names), st.sampled_from([b"", b"x", b"THING"]), max_size=12))
def test_every_file_is_used_counted_or_a_companion(files: dict[tuple[str, str], bytes]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        made = {put(root / folder / name, content): content for (folder, name), content in files.items()}
        used = files_below(root, THINGS)
        found = left_out([root], used, THINGS)
        for file, content in made.items():
            if file.name in ("notes.txt", "labels.CSV", ".hidden"):
                assert file not in [*used, *found.unread]
            else:
                is_sample = file.suffix.lower() == ".thing" or content == b"THING"
                assert (file in used, file in found.unread) == (is_sample, not is_sample)
        assert found.loose == found.links == []
        assert sum(int(part.split()[0]) for part in found.suffixes().split(", ") if part) == len(found.unread)
        assert left_out([root], used[1:], THINGS).loose == used[:1]


def test_each_reason_is_a_line_that_says_what_to_do(tmp_path: Path) -> None:
    used = put(tmp_path / "cat" / "1.thing")
    for number in range(12):
        put(tmp_path / "cat" / f"{number}.HEIC")
    put(tmp_path / "dog" / "plain")
    put(tmp_path / "loose.thing")
    (tmp_path / "cat" / "elsewhere").symlink_to(tmp_path / "dog")
    assert left_out([tmp_path], [used], THINGS).lines() == [
        "13 files cannot be read as things (12 .heic, 1 without a suffix; "
        f"the first is {tmp_path}/cat/0.HEIC); convert them with `thingify`",
        f"1 thing of no class or split (the first is {tmp_path}/loose.thing); move what you need",
        f"1 link to folders not followed (the first is {tmp_path}/cat/elsewhere); copy what you need to its place",
    ]
    assert left_out([tmp_path / "cat" / "elsewhere"], [], THINGS).suffixes() == "1 without a suffix"


def test_a_link_that_is_a_class_is_followed_and_a_loop_ends(tmp_path: Path) -> None:
    put(tmp_path / "far" / "1.thing")
    put(tmp_path / "far" / "2.heic")
    put(tmp_path / "data" / "cat" / "3.thing")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "far")
    (tmp_path / "data" / "cat" / "up").symlink_to(tmp_path / "data")
    listed = files_of_splits(tmp_path / "data", THINGS)
    used = [file for by_class in listed.values() for files in by_class.values() for file in files]
    assert [file.name for file in used] == ["3.thing", "1.thing"]
    found = left_out([tmp_path / "data"], used, THINGS)
    assert (found.unread, found.links) == (
        [tmp_path / "data" / "dog" / "2.heic"],
        [tmp_path / "data" / "cat" / "up"],
    )


def test_a_folder_without_samples_names_what_it_has_in_their_place(tmp_path: Path) -> None:
    put(tmp_path / "cat" / "1.thing")
    put(tmp_path / "dog" / "1.heic")
    there = r"1 file cannot be read as things \(1 .heic; the first is .*/dog/1.heic\); convert them with `thingify`"
    with pytest.raises(UserError, match=rf"class folder 'dog' has no training things; fill it or remove it; {there}"):
        files_of_splits(tmp_path, THINGS)
    with pytest.raises(UserError, match=f"holds no thing file; {there}"):
        list(files_named([tmp_path / "dog"], THINGS))
    (tmp_path / "cat" / "1.thing").unlink()
    with pytest.raises(UserError, match=f"no things of any class; expected .*; {there}"):
        files_of_splits(tmp_path, THINGS)


def test_a_class_written_in_two_ways_is_one_class(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    put(tmp_path / "train" / composed / "1.thing")
    put(tmp_path / "test" / decomposed / "2.thing")
    put(tmp_path / "test" / composed / "3.thing")
    listed = files_of_splits(tmp_path, THINGS)
    assert listed.keys() == {"train", "test"}
    assert all(by_class.keys() == {composed} for by_class in listed.values())
    assert {file.name for file in listed["test"][composed]} == {"2.thing", "3.thing"}
    assert class_numbers(["tea", decomposed], [composed, "tea"]) == [1, 0]
    (tmp_path / "train" / ("e\u0301t\u00e9")).mkdir()
    with pytest.raises(UserError, match="class folder '\u00e9t\u00e9' has no training things"):
        files_of_splits(tmp_path, THINGS)
