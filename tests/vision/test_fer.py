"""FER2013 CSVs: both forms, and each way in which one can be broken."""

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import ptapp_vision.data.recognise
from divisions import EXACT
from ptapp_core.errors import UserError
from ptapp_vision.data.fer import CLASSES, read_fer

load = partial(ptapp_vision.data.recognise.load, division=EXACT)


def face(number: int) -> str:
    return " ".join(str((number * 31 + place * 7) % 256) for place in range(2304))


def table(header: str = "emotion,pixels,Usage", **changed: str) -> str:
    """Twelve good rows, six of them for training; `row5="..."` replaces the row on line 5."""
    usages = ["Training"] * 6 + ["PublicTest"] * 3 + ["PrivateTest"] * 3
    lines = [header] + [f"{row % 3},{face(row)},{usage}" for row, usage in enumerate(usages)]
    for name, text in changed.items():
        lines[int(name.removeprefix("row")) - 1] = text
    return "\n".join(lines) + "\n"


def written(folder: Path, content: str | bytes) -> Path:
    file = folder / "fer2013.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def error(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_fer(file)
    message = str(caught.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    return message.removeprefix(str(file))


def test_usage_tells_the_splits_and_pixels_arrive_row_by_row(tmp_path: Path) -> None:
    data = read_fer(written(tmp_path, table()))
    assert [len(part) for part in (data.train, data.val, data.test)] == [6, 3, 3]
    assert data.classes == CLASSES
    assert data.val.labels.tolist() == [0, 1, 2]
    assert data.test.names[0] == "fer2013.csv:11"
    expected = torch.tensor([int(value) for value in face(9).split()], dtype=torch.uint8).view(1, 48, 48)
    assert torch.equal(data.test.images[0], expected)


def other_form(text: str) -> str:
    rows = [line.split(",") for line in text.splitlines()[1:]]
    return "\r\n".join(["emotion, Usage, pixels", *(f"{label},{usage},{face}" for label, face, usage in rows), ""])


@pytest.mark.parametrize(
    "form",
    [
        other_form,
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\n\n"),
        lambda text: "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()),
        lambda text: gzip.compress(text.encode()),
    ],
    ids=["icml", "byte-order mark", "blank lines", "quoted", "gzip"],
)
def test_every_known_form_reads_the_same(tmp_path: Path, form: Callable[[str], str | bytes]) -> None:
    plain, formed = read_fer(written(tmp_path, table())), read_fer(written(tmp_path, form(table())))
    for name in ("train", "val", "test"):
        assert torch.equal(getattr(plain, name).images, getattr(formed, name).images)
        assert torch.equal(getattr(plain, name).labels, getattr(formed, name).labels)


def test_without_usage_the_rows_are_divided_by_class(tmp_path: Path) -> None:
    text = "emotion,pixels\n" + "".join(f"{row % 2},{face(row)}\n" for row in range(40))
    data = read_fer(written(tmp_path, text), division=EXACT)
    assert [part.labels.bincount().tolist() for part in (data.train, data.val, data.test)] == [[16, 16], [2, 2], [2, 2]]


def test_a_folder_with_one_such_table_is_recognised_among_others(tmp_path: Path) -> None:
    written(tmp_path, table())
    (tmp_path / "example_submission.csv").write_text("emotion\n0\n")
    assert load(str(tmp_path)).about.startswith("FER2013 CSV fer2013.csv: 6 train, 3 val, 3 test")
    (tmp_path / "icml_face_data.csv").write_text(other_form(table()))
    with pytest.raises(UserError, match=r"more than one data set in it; choose one of .*fer2013.csv, .*icml_face"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"7,{face(0)},Training", "column 'emotion': '7' is no label from 0 to 6"),
        (f"sad,{face(0)},Training", "column 'emotion': 'sad' is no label from 0 to 6"),
        (f",{face(0)},Training", "column 'emotion': '' is no label from 0 to 6"),
        (f"0,{face(0)},Trainin", "column 'Usage': 'Trainin' is no known split; did you mean 'Training'?"),
        (f"0,{face(0)} 9,Training", "column 'pixels': 2305 values, a face of 48x48 has 2304"),
        ("0,1 2 3,Training", "column 'pixels': 3 values, a face of 48x48 has 2304"),
        ("0,,Training", "column 'pixels': 0 values, a face of 48x48 has 2304"),
        ("0,12 abc 3,Training", "column 'pixels': value 2 is 'abc', no whole number from 0 to 255"),
        ("0,12 3.5 3,Training", "column 'pixels': value 2 is '3.5', no whole number from 0 to 255"),
        ("0,12 -1 3,Training", "column 'pixels': value 2 is '-1', no whole number from 0 to 255"),
        (f"0,{face(0)[:-3]}256,Training", "column 'pixels': value 2304 is '256', no whole number from 0 to 255"),
        (f"0,{face(0)[:-3]}{'9' * 5000},Training", "column 'pixels': value 2304 is '99999999999999999999', no whole"),
        (f"0,{face(0)}", "column 3: 2 columns, the header has 3"),
        (f"0,{face(0)},Training,", "column 4: 4 columns, the header has 3"),
        ("0,1 \0 3,Training", r"column 'pixels': value 2 is '\x00', no whole number from 0 to 255"),
    ],
)
def test_a_bad_row_is_told_by_line_and_column_and_left_out_on_request(tmp_path: Path, row: str, message: str) -> None:
    file = written(tmp_path, table(row5=row))
    told = error(file)
    assert told.startswith(f", line 5, {message}")
    assert told.endswith("; leave such rows out with --skip-bad")
    data = read_fer(file, skip_bad=True)
    assert len(data.train) == 5
    assert len(data.skipped) == 1
    assert data.skipped[0].startswith(f"fer2013.csv:5: {message}")
    assert "1 bad sample" in data.about


@pytest.mark.parametrize("side", [32, 64, 96])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_faces_of_another_size_are_told_by_it_and_not_all_left_out(side: int, skip_bad: bool, tmp_path: Path) -> None:
    face = " ".join(["7"] * side * side)
    file = written(tmp_path, "emotion,pixels\n" + f"0,{face}\n1,{face}\n")
    with pytest.raises(
        UserError, match=rf"{side * side} values, which is {side}x{side}, a face of 48x48 has"
    ) as caught:
        read_fer(file, skip_bad=skip_bad)
    assert "--skip-bad" not in str(caught.value)


def test_undecodable_bytes_are_shown_escaped(tmp_path: Path) -> None:
    file = written(tmp_path, table(row3="0,1 ? 3,Training").encode().replace(b"?", b"\xff\xfe"))
    assert error(file).startswith(r", line 3, column 'pixels': value 2 is '\xff\xfe', no whole number")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": is empty (0 bytes)"),
        (b"emotion,Usage\n0,Training\n", ", line 1: no column 'pixels' (found: emotion, usage)"),
        (b"pixels,Usage\n0,Training\n", ", line 1: no column 'emotion' (found: pixels, usage)"),
        (f"0,{face(0)},Training\n".encode(), ", line 1: no header; it should read emotion,pixels,Usage"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", ", line 1: no header; it should read emotion,pixels,Usage"),
        (b"emotion,pixels,Usage\n", ": no training rows below the header"),
        (gzip.compress(table().encode())[:-9], ": corrupt or truncated gzip file"),
    ],
    ids=["empty", "no pixels", "no emotion", "no header", "a picture", "no rows", "cut gzip"],
)
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    assert error(written(tmp_path, content)).startswith(message)


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    text = "emotion,pixels\n" + "".join(f"3,{face(row)}\n" for row in range(9))
    assert "all samples are of class 'happy'" in error(written(tmp_path, text))


def test_numbers_written_unusually_read_like_the_usual_ones(tmp_path: Path) -> None:
    usual = [int(value) for value in face(1).split()]
    unusual = "\t".join(f"{value:04d}" for value in usual)
    data = read_fer(written(tmp_path, table(row2=f"0,{unusual},Training")), division=EXACT)
    assert np.array_equal(data.train.images[0].flatten(), usual)
