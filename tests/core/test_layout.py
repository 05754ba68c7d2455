"""What folders are called decides whether they are splits, classes, or neither."""

import shutil
import tempfile
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ptapp_core.data.class_folders import files_of_splits, list_classes
from ptapp_core.data.layout import note_on_people, split_of
from ptapp_core.data.split import SplitName
from ptapp_core.data.unread import FileType
from ptapp_core.errors import UserError

WORDS: dict[SplitName, list[str]] = {
    "train": ["train", "training"],
    "val": ["val", "valid", "validation", "dev", "publictest", "Public_Test"],
    "test": ["test", "testing", "eval", "evaluation", "privatetest", "Private-Test"],
}
few = settings(derandomize=True, deadline=None, max_examples=60)


def tree(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")
    return root


def read(root: Path) -> dict[SplitName, dict[str, list[Path]]]:
    return files_of_splits(root, FileType("image", frozenset([".png"]), lambda file: False, remedy="convert them"))


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@st.composite
def names_of(draw: st.DrawFn, split: SplitName) -> str:
    """A name of a split in any case, with any tail and separator."""
    word = draw(st.sampled_from(WORDS[split]))
    tail = draw(st.sampled_from(["", "set", "_set", "-data", " images", "_Images"]))
    name = word + tail
    return "".join(draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in name)


@few
@given(names=st.tuples(names_of("train"), names_of("val"), names_of("test")), lacking=st.sampled_from([None, 1, 2]))
def test_folders_called_like_splits_are_the_splits(names: tuple[str, str, str], lacking: int | None) -> None:
    splits: dict[SplitName, str] = dict(zip(("train", "val", "test"), names, strict=True))
    if lacking is not None:
        del splits[list(splits)[lacking]]
    with tempfile.TemporaryDirectory() as folder:
        root = tree(Path(folder), *(f"{name}/{label}/1.png" for name in splits.values() for label in ("cat", "dog")))
        found = read(root)
        assert set(found) == set(splits)
        assert all(sorted(classes) == ["cat", "dog"] for classes in found.values())


def test_names_that_only_hold_a_word_of_a_split_are_no_splits() -> None:
    for name in ("trainers", "steam_train", "devil", "evaluated", "contest", "valley", "test2", "trains"):
        assert split_of(name) is None


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = tree(tmp_path, *(f"{label}/{number}.png" for label in ("car", "train", "bus") for number in range(2)))
    assert sorted(read(root)["train"]) == ["bus", "car", "train"]


@few
@given(
    outer=st.lists(st.sampled_from(["cat", "dog", "cow", "hen"]), min_size=2, max_size=4, unique=True),
    inner=st.lists(st.sampled_from(["fold1", "Actor_02", "left", "photos", "b"]), min_size=1, max_size=3, unique=True),
)
def test_folders_that_hold_only_folders_of_the_same_names_are_no_classes(outer: list[str], inner: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = tree(Path(folder), *(f"{one}/{other}/1.png" for one in outer for other in inner))
        assert "hold no images but" in refusal(root)
        assert repr(sorted(outer)[0]) in refusal(root)
        tree(root, f"{outer[0]}/1.png")  # now one of them is plainly a class
        assert sorted(read(root)["train"]) == sorted(outer)


def test_folders_in_a_class_that_are_called_differently_are_parts_of_it(tmp_path: Path) -> None:
    root = tree(tmp_path, "cat/tom/1.png", "cat/kitty/1.png", "dog/rex/1.png", "dog/lassie/1.png")
    assert {label: len(files) for label, files in read(root)["train"].items()} == {"cat": 2, "dog": 2}


@pytest.mark.parametrize(("one", "other"), [*combinations(["train", "Testing", "dev"], 2)])
def test_splits_at_another_level_are_named_with_what_to_give_instead(one: str, other: str, tmp_path: Path) -> None:
    high = tree(tmp_path / "high", *(f"images/{split}/{c}/1.png" for split in (one, other) for c in ("cat", "dog")))
    assert f"its only folder 'images' holds the splits ({min(one, other)!r}, {max(one, other)!r})" in refusal(high)
    assert f"give --data {high}/images" in refusal(high)
    low = tree(tmp_path / "low", *(f"{c}/{split}/1.png" for split in (one, other) for c in ("cat", "dog")))
    assert "hold no images but the splits" in refusal(low)
    assert "one level too low; move them up, as" in refusal(low)


def test_one_folder_around_the_classes_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path, "pets/cat/1.png", "pets/dog/1.png")
    assert refusal(root).endswith(f"look like classes ('cat', 'dog'); give --data {root}/pets")


def test_splits_of_other_names_with_a_folder_too_many_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path, *(f"seg_{s}/seg_{s}/{c}/1.png" for s in ("train", "test") for c in ("forest", "street")))
    told = refusal(root)
    assert "'seg_test', 'seg_train' look like splits, not like classes; move the folders of classes (" in told
    assert f"{root}/seg_test/seg_test to {root}/test, {root}/seg_train/seg_train to {root}/train)" in told
    tree(root, *(f"{split}/{split}/{c}/1.png" for split in ("train_set", "test") for c in ("forest", "street")))
    for name in ("seg_train", "seg_test"):
        shutil.rmtree(root / name)
    assert {split: sorted(classes) for split, classes in read(root).items()} == {
        "train": ["forest", "street"],
        "test": ["forest", "street"],
    }


INSIDE = ["{}.png", "{name}/{}.png", "a/{}.png", "{name}/c{}/1.png", "c{}/1.png"]
few_trees = settings(derandomize=True, deadline=None, max_examples=40)


def trees(root: Path, names: Iterable[str], inside: Iterable[str]) -> Path:
    for name, form in zip(names, inside, strict=True):
        tree(root, *(f"{name}/{form.format(number, name=name)}" for number in range(3)))
    return root


@few_trees
@given(
    affix=st.sampled_from(
        ["seg_{}", "audio_{}", "asl_alphabet_{}", "Set2018.{}", "{}_cats", "photos-{}2", "My{}Images"]
    ),
    train=st.sampled_from(["train", "Training"]),
    others=st.lists(st.sampled_from(["test", "val", "dev", "pred", "unlabeled"]), min_size=1, max_size=3, unique=True),
    inside=st.lists(st.sampled_from(INSIDE), min_size=4, max_size=4),
)
def test_names_that_differ_in_the_word_of_a_split_are_no_classes(
    affix: str, train: str, others: list[str], inside: list[str]
) -> None:
    names = [affix.format(word) for word in (train, *others)]
    with tempfile.TemporaryDirectory() as folder:
        told = refusal(trees(Path(folder), names, inside[: len(names)]))
        assert "look like splits, not like classes; " in told
        assert ("give --data " in told) == (inside[0] in INSIDE[3:])
        assert ("write a CSV manifest" in told) != (inside[0] in INSIDE[3:])


@few_trees
@given(
    holder=st.sampled_from(["images", "Imgs", "my_images", "JPEGImages", "photos"]),
    about=st.sampled_from(["masks", "annotations", "labels", "ground_truth", "SegmentationMasks"]),
    inside=st.lists(st.sampled_from(INSIDE), min_size=2, max_size=2),
)
def test_images_beside_masks_or_labels_are_no_classes(holder: str, about: str, inside: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = refusal(trees(Path(folder), (holder, about), inside))
        assert f"{holder!r} and {about!r} look like images and what is said about them, not like classes" in told
        assert (f"give --data {folder}/{holder}" in told) == (inside[0] in INSIDE[3:])


@few_trees
@given(
    names=st.lists(
        st.sampled_from(
            "test_tube train_station val_gardena trains planes labels cats with_mask without_mask train car eval_board "  # noqa: SIM905
            "screw_part_1 screw_part_2 part_number part2b c1 c2 dev_kit testament".split()
        ),
        min_size=2,
        max_size=6,
        unique=True,
    ),
    nested=st.booleans(),
)
def test_true_classes_train_whatever_their_names(names: list[str], nested: bool) -> None:
    assume(not (nested and "train" in names))  # there it is the split
    with tempfile.TemporaryDirectory() as folder:
        form = "{0}/{0}1/{1}.png" if nested else "{0}/{1}.png"
        root = tree(Path(folder), *(form.format(name, number) for name in names for number in range(2)))
        assert sorted(read(root)["train"]) == sorted(names)


def test_a_split_without_classes_and_support_folders_are_named_with_a_remedy(tmp_path: Path) -> None:
    root = tree(tmp_path / "flat", "train/cat/1.png", "train/dog/1.png", "val/1.png")
    assert refusal(root).startswith(f"{root}/val: its images are in no class's folder, so nothing can be measured")
    root = tree(tmp_path / "support", "images/cat/1.png", "images/dog/1.png", "meta/classes.txt")
    assert f"'meta' has no training images; fill it or remove it, or give --data {root}/images" in refusal(root)


@pytest.mark.parametrize(
    "name", ["fold{}", "Fold_{}", "cv-{}", "part {}", "HAM10000_images_part_{}", "my_fold_{}", "data_batch_{}"]
)
def test_folds_are_no_classes(name: str, tmp_path: Path) -> None:
    root = tree(tmp_path, *(f"{name.format(number)}/{number}.png" for number in range(1, 6)))
    assert "look like folds, not like classes; write a CSV manifest (columns filename, label" in refusal(root)


def test_classes_called_like_people_get_a_line() -> None:
    assert "the classes are 'Actor_01', 'Actor_02': if" in str(note_on_people(["Actor_01", "Actor_02"]))
    assert note_on_people(["Actor_01", "Anna"]) is None
    assert note_on_people(["digit0", "digit1"]) is None


def test_samples_beside_a_table_of_other_columns_get_what_to_rename(tmp_path: Path) -> None:
    kind = FileType("image", frozenset([".png"]), lambda file: False, remedy="convert them")
    for name in ("images", "train", "."):
        root = tree(tmp_path / f"in {name}", f"{name}/1.png", f"{name}/2.png")
        (root / "train.csv").write_text("id,kind\n1,cat\n2,dog\n")
        (root / "README.txt").write_text("one, two\n")
        with pytest.raises(
            UserError, match=r"train\.csv is no manifest: its columns are id, kind; rename the column of"
        ):
            list_classes(root, kind)


def test_a_folder_of_all_samples_is_no_class(tmp_path: Path) -> None:
    assert "its only folder 'Images' looks like all the images, not a class; write" in refusal(
        tree(tmp_path, "Images/1.png")
    )
