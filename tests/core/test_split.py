"""The split of a sample depends on what it is: its group, its name or its content, never on where it stands."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptapp_core.data.members import FILE, Members
from ptapp_core.data.split import SPLITS, Assigned, Division, Known, Samples, SplitName, assign, digest, place
from ptapp_core.errors import UserError

NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=60, unique=True)


def samples(names: list[str], groups: list[str] | None = None) -> Samples:
    return Samples(names, names, [digest(name.encode("utf-8", "surrogatepass")) for name in names], groups or ())


def hashed(names: list[str], seed: int = 0, before: Members | None = None) -> dict[str, SplitName | None]:
    """The split of each of the names, of which there are many more."""
    many = [f"{number} of many" for number in range(200)]
    assigned = assign(samples([*names, *many]), Known("here"), Division(seed, before=before))
    return dict(zip(names, assigned.parts, strict=False))


def members(known: Samples, assigned: Assigned, labels: Sequence[str] = ()) -> Members:
    rows = {split: assigned.rows(split) for split in SPLITS}
    return Members.of((split, known.take(own), [labels[row] for row in own if labels]) for split, own in rows.items())


@settings(max_examples=100, deadline=None)
@given(NAMES, st.data())
def test_adding_removing_and_reordering_samples_moves_no_other(names: list[str], data: st.DataObject) -> None:
    parts = hashed(names)
    some = data.draw(st.permutations(names)).copy()[: data.draw(st.integers(0, len(names)))]
    assert hashed(some) == {name: parts[name] for name in some}


def test_shares_are_approximate_and_seeds_differ() -> None:
    names = [f"photo {number}.jpg" for number in range(5000)]
    counts = Counter(hashed(names).values())
    assert 420 < counts["test"] < 580
    assert 420 < counts["val"] < 580
    assert hashed(names, seed=1) != hashed(names)


def test_a_split_that_the_data_gains_moves_no_sample_of_another() -> None:
    """The thresholds are fixed: what was in val is still there when the data brings a test split of its own."""
    names = [f"{number}.png" for number in range(300)]
    both = assign(samples(names), Known("here"), Division())
    own: list[SplitName] = ["train"] * 300
    one = assign(samples([*names, "test.png"]), Known("here", parts=[*own, "test"]), Division())
    assert set(one.rows("val")) == set(both.rows("val"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=60, max_size=200), st.sampled_from(["hash", "exact"]), st.integers(0, 9))
def test_a_group_is_never_in_two_splits(groups: list[int], how: str, seed: int) -> None:
    names = [str(row) for row in range(len(groups))]
    known = samples(names, [f"speaker {group}" for group in groups])
    with suppress(UserError):  # few groups may leave a split empty, which is refused
        assigned = assign(known, Known("here"), Division(seed, how))  # type: ignore[arg-type]
        assert len(set(zip(groups, assigned.parts, strict=True))) == len(set(groups))


def test_a_group_that_the_data_divides_is_refused() -> None:
    known = Known("here", parts=["train", "train", "val", "test"])
    with pytest.raises(UserError, match="group 'ann' are in train and in test"):
        assign(samples(["a", "b", "c", "d"], ["ann", "", "", "ann"]), known, Division())


def test_composed_and_decomposed_accents_are_one_name() -> None:
    assert place("cafe\u0301/1.png", 0, "split") == place("caf\u00e9/1.png", 0, "split")


@pytest.mark.parametrize("counts", [[100, 33, 4], [50, 50], [3, 3, 400]])
def test_exact_shares_are_exact_for_each_class(counts: list[int]) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    known = Known("here", labels, "abc"[: len(counts)])
    assigned = assign(samples([str(row) for row in range(len(labels))]), known, Division(how="exact"))
    for split in ("val", "test"):
        own = Counter(labels[row] for row in assigned.rows(split))  # type: ignore[arg-type]
        assert [own[label] for label in range(len(counts))] == [max(1, round(0.1 * count)) for count in counts]


def test_exact_shares_of_what_is_divided_already_are_said_to_do_nothing() -> None:
    names = [str(row) for row in range(30)]
    divided = Known("here", parts=["train"] * 10 + ["val"] * 10 + ["test"] * 10)
    said = "--split exact does nothing here: the data brings all its splits"
    exact = Division(how="exact")
    assigned = assign(samples(names), divided, exact)
    assert said in assigned.note
    assert said not in assign(samples(names), divided, Division()).note
    kept = members(samples(names), assigned)
    assert said not in assign(samples(names), divided, replace(exact, before=kept)).note
    without_val = replace(divided, parts=["train"] * 20 + ["test"] * 10)
    assert said not in assign(samples(names), without_val, exact).note


def test_a_class_that_falls_into_no_split_is_refused_and_exact_is_named() -> None:
    labels = [0] * 400 + [1] * 3
    known = Known("here", labels, ("many", "few"))
    with pytest.raises(UserError, match=r"^here: class 'few' has 3 samples, none of which fell .* --split exact$"):
        assign(samples([str(row) for row in range(403)]), known, Division())
    with pytest.raises(UserError, match="class 'few' has 2 samples, too few to divide"):
        assign(samples([str(row) for row in range(402)]), replace(known, labels=labels[:402]), Division(how="exact"))
    with pytest.raises(UserError, match="all samples are of class 'many'; a classifier needs at least two"):
        assign(samples(["a", "b"]), Known("here", [0, 0], ("many",)), Division())


def test_samples_that_the_data_has_for_its_test_are_not_counted_where_too_few_are_divided() -> None:
    parts: list[SplitName] = ["train"] * 402 + ["test"] * 90
    known = Known("here", [0] * 400 + [1] * 92, ("many", "few"), parts)
    names = [str(row) for row in range(492)]
    with pytest.raises(UserError, match="class 'few' has 2 samples, none of which fell into val"):
        assign(samples(names), known, Division())
    with pytest.raises(UserError, match="class 'few' has 90 samples, and none to train on"):
        assign(samples(names), replace(known, labels=[0] * 402 + [1] * 90, classes=("many", "few")), Division())


@pytest.mark.parametrize(
    ("contents", "groups", "said"),
    [
        ("ab", "", "2 samples, too few"),
        ("aab", "", "3 samples, 2 of them different, too few"),
        ("aaa", "", "3 samples that are all the same, too few"),
        ("abc", "ggh", "3 samples in 2 groups, too few"),
        ("abc", "ggg", "3 samples in 1 group, too few"),
    ],
)
def test_a_class_of_copies_or_of_few_groups_is_refused_with_their_number(contents: str, groups: str, said: str) -> None:
    own = [*map(str, range(40)), *contents]
    names = [f"f:{row}" for row in range(len(own))]
    all_groups = [*map(str, range(40)), *groups] if groups else ()
    known = Known("here", [0] * 40 + [1] * len(contents), ("many", "few"))
    with pytest.raises(UserError, match=f"^here: class 'few' has {said}"):
        assign(Samples(names, own, own, all_groups), known, Division(how="exact"))


def test_copies_on_two_sides_are_counted_and_refused() -> None:
    names = ["train/a.png", "train/b.png", "test/c.png", "test/d.png"]
    known = Samples(names, names, ["1", "2", "1", "3"])
    own = Known("here", [0, 1, 0, 1], "xy", parts=["train", "train", "test", "test"])
    division = Division(val=0)
    with pytest.raises(UserError, match=r"in two splits: 1 \(train/a.png is test/c.png\); .* --allow-duplicates"):
        assign(known, own, division)
    assert "in two splits: 1" in assign(known, own, replace(division, allow_duplicates=True)).note
    torn = replace(own, labels=[0, 1, 0, 1], parts=["train"] * 4)
    copied = Samples(names, names, ["1", "1", "2", "3"])
    with pytest.raises(UserError, match=r"under two classes: 1 \(train/a.png is train/b.png\)"):
        assign(copied, replace(torn, parts=["train", "train", "test", "test"]), division)


def test_each_sample_is_the_test_of_one_fold_and_classes_are_even() -> None:
    labels = [0] * 31 + [1] * 12 + [2]
    known, all_of_it = Known("here", labels, "abc"), samples([str(row) for row in range(44)])
    division = Division(seed=3, val=0, folds=4)
    tested = []
    for fold in (1, 2, 3, 4):
        with suppress(UserError):  # of one fold: the only sample of c is the test
            tested.append(assign(all_of_it, known, replace(division, fold=fold)).rows("test"))
    assert len(tested) == 3
    assert {len(rows) for rows in tested} <= {10, 11, 12}
    for rows in tested:
        own = Counter(labels[row] for row in rows)
        assert own[0] in (7, 8)
        assert own[1] == 3
    with pytest.raises(UserError, match="--fold 5"):
        assign(all_of_it, known, replace(division, fold=5))
    with pytest.raises(UserError, match="--folds 45: here has 44 samples"):
        assign(all_of_it, known, replace(division, fold=1, folds=45))


def test_the_datas_own_test_samples_take_no_part_in_made_folds() -> None:
    own: list[SplitName] = ["train"] * 40 + ["test"] * 5
    assigned = assign(samples([str(row) for row in range(45)]), Known("here", parts=own), Division(fold=1, folds=4))
    assert assigned.parts[40:] == [None] * 5
    assert len(assigned.rows("test")) == 10


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        Division,
        seed=st.integers(0, 5),
        how=st.sampled_from(["hash", "exact"]),
        val=st.sampled_from([0, 0.1, 0.3]),
        fold=st.sampled_from([None, 1, 3]),
        folds=st.just(3),
    ),
    st.data(),
)
def test_a_runs_samples_stay_where_they_were_when_files_come_go_and_are_renamed(
    division: Division, data: st.DataObject
) -> None:
    names = [f"{number}.png" for number in range(90)]
    before = assign(samples(names), Known("here"), division)
    kept = members(samples(names), before)
    content = {name: digest(name.encode()) for name in names}
    gone = data.draw(st.sets(st.sampled_from(names), max_size=30))
    renamed = {name: f"renamed {name}" for name in data.draw(st.sets(st.sampled_from(names), max_size=30))}
    now = [renamed.get(name, name) for name in names if name not in gone] + [f"new {n}.png" for n in range(50)]
    original = {new: old for old, new in renamed.items()}
    digests = [content.get(original.get(name, name), digest(name.encode())) for name in now]
    after = assign(Samples(now, now, digests), Known("here"), replace(division, before=kept))
    old = dict(zip(names, before.parts, strict=True))
    for name, part in zip(now, after.parts, strict=True):
        if original.get(name, name) in old:
            assert part == old[original.get(name, name)]


def test_the_samples_of_a_run_are_read_back(tmp_path: Path) -> None:
    names = ['quo"te,.png', "line\nbreak.png", "caf\udce9.png", "plain.png"]
    known = Samples(names, names, ["1", "2", "3", "4"], ["", "a,b", "", ""])
    kept = members(known, Assigned(["train", "val", "test", "train"]), ["x", "x,y", "", "x"])
    (tmp_path / FILE).write_text(kept.text(), encoding="utf-8", errors="surrogateescape", newline="")
    read = Members.read(tmp_path)
    assert read is not None
    assert read.rows == kept.rows
    assert Members.read(tmp_path / "nowhere") is None
    (tmp_path / "run" / "checkpoints" / "step-00000001").mkdir(parents=True)
    with pytest.raises(UserError, match=r"samples\.csv: is missing"):
        Members.read(tmp_path / "run")
    (tmp_path / FILE).write_text("split,id\n")
    with pytest.raises(UserError, match=r"samples\.csv:2: not a row of"):
        Members.read(tmp_path)
    (tmp_path / FILE).write_text("split,id,label,group,digest\ntrain,a,,,1\nother,b,,,2\n")
    with pytest.raises(UserError, match=r"samples\.csv:3: not a row of split,id,label,group,digest"):
        Members.read(tmp_path)


def test_a_copy_of_the_data_with_decomposed_accents_is_the_same_training_set() -> None:
    run, own = Path("runs/x"), Assigned(["train", "train", "test"])
    composed, decomposed = samples(["caf\u00e9/1", "b", "c"]), samples(["cafe\u0301/1", "b", "c"])
    for one, other in ((composed, decomposed), (decomposed, composed)):
        kept = members(replace(one, digests=()), own)
        kept.refuse_changed_training(run, members(replace(other, digests=()), own))
        assert kept.split_of(replace(other, digests=()), 0) == "train"
        assert len(members(other, own).joined(kept).rows) == 3


def test_what_is_added_to_a_runs_data_never_makes_it_impossible_to_measure() -> None:
    names = [str(row) for row in range(40)]
    kept = members(samples(names), assign(samples(names), Known("here"), Division()))
    # groups that are seen now, and a copy of a training sample among the new ones
    grown = Samples([*names, "new"], [*names, "new"], [*map(str, range(40)), "0"], ["g"] * 41)
    assigned = assign(grown, Known("here", [0] * 41, ["a"]), Division(before=kept))
    assert [row.split for row in members(grown, assigned).rows if row.id != "new"] == [row.split for row in kept.rows]


def test_a_changed_training_set_is_named() -> None:
    own: list[SplitName | None] = ["train", "train", "val", "test"]
    known = samples(["a", "b", "c", "d"])
    run, before = Path("runs/x"), members(known, Assigned(own))
    before.refuse_changed_training(run, members(known.take([0, 1, 3]), Assigned(["train", "train", "test"])))
    changed = Samples(["a", "z"], ["a", "z"], ["other", digest(b"z")])
    with pytest.raises(UserError, match=r"1 missing \(b\), 1 new \(z\), 1 of other content \(a\); restore"):
        before.refuse_changed_training(run, members(changed, Assigned(["train", "train"])))
    as_now = Assigned(["train", "train", "test", "test"])
    labelled = members(known, as_now, ["x", "y", "x", "y"])
    with pytest.raises(UserError, match=r"changed: 1 with another label \(b\); restore"):
        labelled.refuse_changed_training(run, members(known, as_now, ["x", "x", "y", "x"]))
    with pytest.raises(UserError, match="in another order"):
        before.refuse_changed_training(run, members(known.take([1, 0]), Assigned(["train", "train"])))
    assert before.learned(members(known, Assigned(["test"] * 4)).part("test")) == 2


def test_rows_that_their_content_alone_tells_apart_are_named_by_where_they_stand() -> None:
    def rows(content: str) -> Members:
        names = [f"a.csv:{number}" for number in range(2, 2 + len(content))]
        known = Samples.of_rows(names, [digest(each.encode()) for each in content])
        return members(known, Assigned(["train"] * len(content)), list("x" * len(content)))

    run, before = Path("runs/x"), rows("abcd")
    before.refuse_changed_training(run, rows("abcd"))
    for content, said in (
        ("abzd", r"1 missing (below a.csv:3), 1 new (a.csv:4)"),
        ("bcd", r"1 missing (above the first)"),
        ("abcde", r"1 new (a.csv:6)"),
        ("zbyd", r"2 missing (above the first, below a.csv:3), 2 new (a.csv:2, a.csv:4)"),
    ):
        with pytest.raises(UserError) as caught:
            before.refuse_changed_training(run, rows(content))
        assert f"the training samples changed: {said}; restore" in str(caught.value)


@pytest.mark.parametrize("how", ["hash", "exact"])
def test_classes_that_are_too_rare_to_divide_stay_in_train_and_are_said(how: str) -> None:
    labels = [0] * 300 + [1] * 300 + [2, 2, 3]
    known = Known("here", labels, ("a", "b", "two", "one"))
    plain = assign(samples([str(row) for row in range(600)]), replace(known, labels=labels[:600]), Division(how=how))
    assigned = assign(samples([str(row) for row in range(603)]), known, Division(how=how))  # type: ignore[arg-type]
    assert [*assigned.parts[600:]] == ["train"] * 3
    assert assigned.parts[:600] == plain.parts  # whose splits are their own
    assert "2 of 4 classes ('two', 'one') are too rare to divide: all of their samples stay in train" in assigned.note
    assert "rare" not in plain.note


def test_a_class_that_could_be_divided_does_not_stay_in_train_by_the_hash() -> None:
    labels = [0, 1] * 300 + [2] * 3
    known, names = Known("here", labels, ("a", "b", "three")), samples([str(row) for row in range(603)])
    with pytest.raises(UserError, match=r"class 'three' has 3 samples, none of which fell into .* --split exact"):
        assign(names, known, Division())
    assert set(assign(names, known, Division(how="exact")).parts[600:]) == {"train", "val", "test"}


def test_a_group_with_a_sample_of_a_rare_class_stays_in_train_with_it() -> None:
    labels = [0, 1] * 300 + [2]
    groups = [f"group {row // 4}" for row in range(600)] + ["group 7"]
    known = Known("here", labels, ("a", "b", "rare"))
    assigned = assign(samples([str(row) for row in range(601)], groups), known, Division())
    assert {assigned.parts[row] for row in (28, 29, 30, 31, 600)} == {"train"}
    assert set(assigned.parts) == {"train", "val", "test"}


def test_rare_classes_are_refused_where_one_class_would_be_left_to_measure() -> None:
    labels = [0] * 400 + [1, 2]
    with pytest.raises(UserError, match="class 'b' has 1 sample, none of which fell into"):
        assign(samples([str(row) for row in range(402)]), Known("here", labels, ("a", "b", "c")), Division())


def test_a_run_keeps_its_rare_classes_where_they_were() -> None:
    labels = [0] * 100 + [1] * 100 + [2]
    known, names = Known("here", labels, ("a", "b", "rare")), samples([str(row) for row in range(201)])
    assigned = assign(names, known, Division(how="exact"))
    again = assign(names, known, Division(how="exact", before=members(names, assigned)))
    assert again.parts == assigned.parts
