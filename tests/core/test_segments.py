"""Columns of times make rows segments of their files, in every form that programs write."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.tables import few, read, refusal, table
from ptapp_core.data.manifest import END, START


@few
@given(
    start=st.sampled_from(START),
    end=st.sampled_from(END),
    form=st.sampled_from(["{}", "{} (s)"]),
    times=st.lists(st.integers(0, 99), min_size=2, max_size=4, unique=True),
)
def test_columns_of_times_are_segments(tmp_path: Path, start: str, end: str, form: str, times: list[int]) -> None:
    times.sort()
    names = [form.format(name).replace("_", " ").title() if "(" in form else name for name in (start, end)]
    rows = [f"a.wav,{begin / 2},{stop / 2},x{begin}" for begin, stop in pairwise(times)]
    listing = read(table(tmp_path, f"filename,{names[0]},{names[1]},label", *rows))
    assert listing.spans == [(begin / 2, stop / 2) for begin, stop in pairwise(times)]
    assert listing.names[0] == f"a.wav[{times[0] / 2}-{times[1] / 2}]"
    assert len(set(listing.groups or ())) == 1  # pieces of one file stay together


def test_the_groups_of_segments_are_the_same_wherever_the_data_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = []
    for folder in (tmp_path / "here", tmp_path / "there" / "below"):
        (folder / "sounds").mkdir(parents=True)
        for name in ("x.wav", "y.wav"):
            (folder / "sounds" / name).write_bytes(b"1")
        rows = [f"sounds/{name},{start},{start + 1},k" for name in ("x.wav", "y.wav") for start in (0, 2)]
        listings.append(read(table(folder, "filename,start,end,label", *rows)))
        monkeypatch.chdir(folder)
        listings.append(read(Path("m.csv")))
        monkeypatch.chdir(folder.parent)
        listings.append(read(Path(folder.name, "m.csv")))
    assert listings[0].groups == ["sounds/x.wav", "sounds/x.wav", "sounds/y.wav", "sounds/y.wav"]
    assert all(listing.groups == listings[0].groups for listing in listings)


@pytest.mark.parametrize(
    ("header", "row", "span"),
    [
        ("filename\tonset\toffset\tevent_label", "a.wav\t0.5\t1.25\tx", (0.5, 1.25)),  # DCASE
        ("Start (s),End (s),Scientific name,Common name,Confidence,File", "3.0,6.0,Turdus,Robin,0.9,a.wav", (3.0, 6.0)),
        (
            "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tCommon Name\tBegin Path\tFile Offset (s)",
            "1\tSpectrogram 1\t1\t63.0\t66.0\tRobin\ta.wav\t3.0",
            (3.0, 6.0),
        ),  # BirdNET's for Raven; its times count from the first of several files
        ("filename,start,duration,label", "a.wav,1,2.5,x", (1.0, 3.5)),
        ("filename,start,label", "a.wav,1,x", (1.0, None)),
        ("filename,start,end,label", "a.wav,0:01:02.5,0:01:03,x", (62.5, 63.0)),
        ("filename,start,end,label", "a.wav,,,x", None),
        ("filename,label,duration", "a.wav,x,2.5", None),
    ],
)
def test_segments_of_annotation_programs(header: str, row: str, span: object, tmp_path: Path) -> None:
    listing = read(table(tmp_path, header, row, name="m.txt"))
    assert (listing.spans or [None])[0] == span


@pytest.mark.parametrize(
    ("header", "row", "word"),
    [
        ("filename,start,end,label", "a.wav,2,1,x", "m.csv:2: the segment ends at 1 s, and begins at 2 s"),
        ("filename,start,end,label", "a.wav,-1,1,x", "m.csv:2: '-1' is no time in seconds"),
        ("filename,start,end,label", "a.wav,x,1,x", "m.csv:2: 'x' is no time in seconds"),
        (
            "filename,start_sample,end_sample,label",
            "a.wav,0,9,x",
            "'start_sample': segments are read from columns",
        ),
        ("filename,offset,label", "a.wav,1,x", "'offset': segments are read from columns start and end, in seconds"),
        ("filename,label,,", "a.wav,x,y,", "m.csv:2: 4 cells where the header has 2 columns"),
        ("filename,label", "a.wav,x,y", "m.csv:2: 3 cells where the header has 2 columns"),
    ],
)
def test_times_that_cannot_be_read_are_refused(header: str, row: str, word: str, tmp_path: Path) -> None:
    assert word in refusal(table(tmp_path, header, row))


@few
@given(
    one=st.tuples(st.integers(0, 20), st.integers(1, 20)),
    other=st.tuples(st.integers(0, 20), st.integers(1, 20)),
    same_class=st.booleans(),
    whole=st.booleans(),
)
def test_two_classes_of_one_moment_are_refused_naming_both_rows(
    tmp_path: Path, one: tuple[int, int], other: tuple[int, int], same_class: bool, whole: bool
) -> None:
    (begin, size), (later, length) = one, other
    spans = (f"{begin},{begin + size}", "," if whole else f"{later},{later + length}")
    file = table(
        tmp_path,
        "filename,start,end,label",
        f"a.wav,{spans[0]},x",
        "b.wav,,,y",
        f"a.wav,{spans[1]},{'x' if same_class else 'z'}",
    )
    overlap = whole or (later < begin + size and begin < later + length)
    if (overlap and not same_class) or (spans[0] == spans[1]):
        assert f"{file}:2 and {file}:4: a.wav" in refusal(file)
        assert ("is there twice" in refusal(file)) == same_class
    else:
        assert len(read(file).files) == 3


@pytest.mark.parametrize(
    ("start", "end"), [("t_min", "t_max"), ("begin_time", "end_time"), ("onset", "offset"), ("xmin", "xmax")]
)
def test_columns_of_times_by_other_names_are_segments(start: str, end: str, tmp_path: Path) -> None:
    listing = read(table(tmp_path, f"filename,label,{start},{end}", "a,x,0.5,1", "b,y,1,2.5", "c,x,,"))
    assert listing.spans == [(0.5, 1.0), (1.0, 2.5), None]


@pytest.mark.parametrize("names", ["event_start_ms,event_end_ms", "clip_start,clip_end", "start_idx,stop_idx"])
def test_columns_that_may_be_times_are_refused_and_never_passed_over(names: str, tmp_path: Path) -> None:
    told = refusal(table(tmp_path, f"filename,label,{names}", "a,x,0,1", "b,y,1,2"))
    assert "segments are read from columns start and end, in seconds; rename or remove it" in told
