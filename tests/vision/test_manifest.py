"""Manifests of images, groups of images, and classes that the size of their images gives away."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from divisions import EXACT
from ptapp_core.errors import UserError
from ptapp_vision.data.recognise import load
from ptapp_vision.data.splits import Splits


def picture(file: Path, size: tuple[int, int] = (8, 8), value: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(value).integers(0, 256, size[::-1], dtype=np.uint8)).save(file)


def write(folder: Path, *rows: str, header: str = "filename,label", count: int = 24) -> Path:
    for number in range(count):
        picture(folder / "images" / f"{number}q.png", value=number)
    (folder / "m.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def rows(values: str = "", count: int = 24) -> list[str]:
    return [f"{number}q,{'ab'[number % 2]}" + values.format(number // 4) for number in range(count)]


def sides(data: Splits) -> list[set[int]]:
    return [
        {int(Path(name).name.split("q")[0]) // 4 for name in part.names} for part in (data.train, data.val, data.test)
    ]


def test_a_manifest_lists_images_with_classes_and_groups(tmp_path: Path) -> None:
    folder = write(tmp_path, *rows(",p{}"), header="image,class,patient")
    for path in (folder, folder / "m.csv"):
        for cache in ("memory", "disk"):
            data = load(str(path), division=EXACT, cache=cache)  # type: ignore[arg-type]
            assert data.classes == ("a", "b")
            assert "a manifest" in data.about
            assert sum(map(len, sides(data))) == 6
            assert all(sides(data))
            assert "column patient is taken as the group" in data.notes[0]
    data = load(str(folder), division=EXACT, group_column=None)
    assert data.notes == ()
    assert sum(map(len, sides(data))) > 6
    with pytest.raises(UserError, match=r"--group-column patent: .* did you mean 'patient'"):
        load(str(folder), division=EXACT, group_column="patent")


def test_the_splits_and_folds_of_a_manifest_are_taken(tmp_path: Path) -> None:
    listed = [f"{row},{('Training', 'dev', 'eval')[number % 3]}" for number, row in enumerate(rows())]
    data = load(str(write(tmp_path / "splits", *listed, header="file,label,split")))
    assert [len(part) for part in (data.train, data.val, data.test)] == [8, 8, 8]
    listed = [f"{row},{1 + number // 8}" for number, row in enumerate(rows())]
    folder = write(tmp_path / "folds", *listed, header="file,label,fold")
    data = load(str(folder), division=replace(EXACT, fold=2, folds=3))
    assert {int(name.split("q")[0]) // 8 for name in data.test.names} == {1}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("name,kind", r"m\.csv:1: not a manifest: its columns are name, kind; rename the column of the files to"),
        ("emotion,Usage", r"m\.csv:1: not a manifest: .*rename the column of the files to filename"),
        ("pixels,Usage", r"m\.csv, line 1: no column 'emotion'"),
        (
            "label," + ",".join(f"pixel{n}" for n in range(784)),
            r"m\.csv: its columns pixel0, pixel1, \.\.\. are the pix",
        ),
        ("3," + " ".join(["128"] * 2304), r"m\.csv, line 1: no header; it should read emotion,pixels,Usage"),
    ],
)
def test_a_table_that_is_given_is_answered_as_what_it_looks_like(header: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"{header}\n1,2\n")
    for path in (tmp_path / "m.csv", tmp_path):
        with pytest.raises(UserError, match=message):
            load(str(path))


@pytest.mark.parametrize(
    "header", ["fname,label", "image_id,dx", "id_code,diagnosis", "image_name,target", "path,breed"]
)
def test_the_usual_names_of_published_tables_are_known(header: str, tmp_path: Path) -> None:
    assert load(str(write(tmp_path, *rows(), header=header)), division=EXACT).classes == ("a", "b")


def test_lesions_of_several_images_stay_in_one_split(tmp_path: Path) -> None:
    data = load(str(write(tmp_path, *rows(",l{}"), header="image_id,dx,lesion_id")), division=EXACT)
    assert sum(map(len, sides(data))) == 6


def test_bad_rows_are_named_and_left_out_on_request(tmp_path: Path) -> None:
    folder = write(tmp_path, *rows(), "gone.png,a")
    with pytest.raises(UserError, match=r"m\.csv:26: gone\.png: no such file; leave such rows out with --skip-bad"):
        load(str(folder), division=EXACT)
    data = load(str(folder), division=EXACT, skip_bad=True)
    assert "1 bad sample left out" in data.about
    assert data.skipped[0].endswith("gone.png: no such file")


@pytest.mark.parametrize("how", ["hash", "exact"])
def test_a_class_of_a_single_image_stays_in_train_and_is_named(how: Literal["hash", "exact"], tmp_path: Path) -> None:
    folder = write(tmp_path, *rows(count=199), "199q,rare", count=200)
    data = load(str(folder), division=replace(EXACT, how=how))
    assert "1 of 3 classes ('rare') are too rare to divide: all of their samples stay in train" in data.about
    rare = data.classes.index("rare")
    assert [int((part.labels == rare).sum()) for part in (data.train, data.val, data.test)] == [1, 0, 0]


def test_an_image_under_two_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m\.csv:2 and .*m\.csv:26: 0q under 'a' and 0q\.png under 'b'"):
        load(str(write(tmp_path, *rows(), "0q.png,b")))


def test_images_of_one_name_with_numbers_stay_together(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        for recording in range(8):
            for piece in range(4):
                picture(tmp_path / label / f"{label}{recording}x_frame{piece}.png", value=10 * recording + piece)
    data = load(str(tmp_path), division=EXACT)
    assert "look like pieces of one recording" in data.notes[0]
    stems = [{name.partition("x_")[0] for name in part.names} for part in (data.train, data.val, data.test)]
    assert sum(map(len, stems)) == 16
    assert load(str(tmp_path), division=EXACT, group_column=None).notes == ()


def test_a_class_that_the_size_of_its_images_tells_apart_gets_a_line(tmp_path: Path) -> None:
    for number in range(10):
        picture(tmp_path / "cat" / f"{number}q.png", size=(8, 8), value=number)
        picture(tmp_path / "dog" / f"{number}q.png", size=(12, 9), value=number)
    notes = load(str(tmp_path), division=EXACT).notes
    assert notes[0].startswith("class 'cat' alone has a size of 8x8 pixels, in all its files (and 1 class more")


@pytest.mark.parametrize(
    ("mode", "format", "said"),
    [
        ("RGB", "png", "images that are stored as colour"),
        ("I;16", "png", "images that are stored as grey of more than 8 bits"),
        ("P", "png", "images that are stored as numbers of a palette"),
        ("1", "png", "images that are stored as black and white"),
        ("L", "bmp", "BMP files"),
        ("L", "jpeg", "JPEG files"),
    ],
)
def test_a_class_that_the_form_of_its_images_tells_apart_gets_a_line(
    mode: str, format: str, said: str, tmp_path: Path
) -> None:
    for label, own, suffix in (("cat", "L", "png"), ("cow", "L", "png"), ("dog", mode, format)):
        (tmp_path / label).mkdir()
        for number in range(10):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            image = Image.new(own, (8, 8), number) if own == "I;16" else Image.fromarray(pixels).convert(own)
            image.save(tmp_path / label / f"{number}q.{suffix}")
    (line,) = (note for note in load(str(tmp_path), division=EXACT).notes if note.startswith("class "))
    assert line.startswith(f"class 'dog' alone has {said}, in all its files: the model may ")
