"""Pieces of one recording are told by their names, and mere numbering is not taken for them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptapp_core.data.pieces import pieces_of

few = settings(derandomize=True, deadline=None, max_examples=100)
SEPARATORS = st.sampled_from(["_", "-", ".", " ", "_part", "-seg_"])


@few
@given(
    separator=SEPARATORS,
    digits=st.integers(1, 4),
    begin=st.integers(0, 1),
    step=st.sampled_from([1, 1, 5]),
    recordings=st.lists(st.integers(3, 8), min_size=4, max_size=9),
    single=st.integers(0, 2),
)
def test_pieces_of_a_recording_are_one_group(
    separator: str, digits: int, begin: int, step: int, recordings: list[int], single: int
) -> None:
    names, labels, wanted = [], [], []
    for number, count in enumerate(recordings):
        label = number % 2
        for piece in range(begin, begin + count * step, step):
            names.append(f"{'ab'[label]}/rec{number}x{separator}{piece:0{digits}d}.wav")
            labels.append(label)
            wanted.append(number)
    for number in range(single):
        names.append(f"a/alone{'xyz'[number]}.wav")
        labels.append(0)
        wanted.append(100 + number)
    found = pieces_of(names, labels)
    assert found is not None
    assert [found.index(group) for group in found] == [wanted.index(group) for group in wanted]


@pytest.mark.parametrize(
    "form", ["rec{} ({}).wav", "rec{}({}).wav", "XC{}_{}-{}s.wav", "rec{}-{}ms-{}ms.wav", "rec{}_{}s-{}s.wav"]
)
def test_pieces_are_numbered_in_brackets_or_by_the_time_that_they_cover(form: str) -> None:
    names = [form.format(1000 + record, 5 * piece, 5 * piece + 5) for record in range(6) for piece in range(4)]
    found = pieces_of(names, [record % 2 for record in range(6) for _ in range(4)])
    assert found is not None
    assert len(set(found)) == 6
    assert all(len(set(found[start : start + 4])) == 1 for start in range(0, 24, 4))


@few
@given(
    separator=SEPARATORS,
    stem=st.sampled_from(["IMG", "cat", "x-ray", "p"]),
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=4),
)
def test_the_numbering_of_a_class_is_no_recording(separator: str, stem: str, counts: list[int]) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    for form in ("{label}/{stem}{separator}{number:04d}.png", "{label}/{stem}{label}{separator}{number}.png"):
        names = [
            form.format(label=label, stem=stem, separator=separator, number=number)
            for number, label in enumerate(labels)
        ]
        assert pieces_of(names, labels) is None


def test_a_recording_may_have_pieces_in_several_classes() -> None:
    names = [f"{'ab'[piece % 2]}/rec{recording}_{piece}.wav" for recording in range(3) for piece in range(6)]
    found = pieces_of(names, [piece % 2 for _ in range(3) for piece in range(6)])
    assert found == [f"rec{recording}" for recording in range(3) for _ in range(6)]


def test_a_class_that_is_merely_numbered_hides_no_recordings_of_another() -> None:
    cut = [f"dog/rec{recording}_{piece}.wav" for recording in range(10) for piece in range(5)]
    numbered = [f"rain/rain_{number}.wav" for number in range(50)]
    found = pieces_of([*cut, *numbered], ["dog"] * 50 + ["rain"] * 50)
    assert found == [f"rec{recording}" for recording in range(10) for _ in range(5)] + numbered


def test_recordings_of_which_few_are_cut_are_found() -> None:
    names = [f"{kind}/rec{recording}_{piece}.wav" for kind in "ab" for recording in range(4) for piece in range(3)]
    whole = [f"{kind}/{number}th.wav" for kind in "ab" for number in range(20)]
    found = pieces_of([*names, *whole], [*"a" * 12, *"b" * 12, *"a" * 20, *"b" * 20])
    assert found is not None
    assert len(set(found)) == 8 + 40


def test_a_recording_that_is_alone_in_val_is_found_where_it_stands_beside_others() -> None:
    names = [
        f"{kind}/{kind}rec{recording}_{piece}.wav" for kind in "ab" for recording in range(3) for piece in range(6)
    ]
    places = [
        ("train" if piece < 4 or recording else "val", kind)
        for kind in "ab"
        for recording in range(3)
        for piece in range(6)
    ]
    found = pieces_of(names, places)
    assert found is not None
    assert len(set(found)) == 6


def test_one_name_a_class_in_each_split_is_numbering_too() -> None:
    places = [(split, label) for split in ("train", "test") for label in "ab" for _ in range(9)]
    names = [f"{split}/{label}/{split}_{number % 9}.png" for number, (split, label) in enumerate(places)]
    assert pieces_of(names, places) is None


def test_names_with_numbers_that_do_not_follow_each_other_are_no_pieces() -> None:
    names = [f"{label}/{day}_{1000 * number**2 + day}.jpg" for label in "ab" for day in range(4) for number in range(5)]
    assert pieces_of(names, [0] * 20 + [1] * 20) is None
    assert pieces_of([], []) is None
