"""Faces of photographs: found, turned upright, cropped, answered and drawn."""

import csv
import io
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

import ptapp
from contract.rows import command
from ptapp_core.errors import UserError
from ptapp_vision.faces.detect import detector_of, find
from ptapp_vision.faces.face import EYE_DISTANCE, EYE_HEIGHT, Face, between_eyes, crop
from ptapp_vision.kinds import Segment
from ptapp_vision.predictor import Predictor
from vision.portraits import Placed, collins, hopper, lay, write_yunet

pytestmark = pytest.mark.slow

RUN = Path(__file__).parents[1] / "saved" / "vision" / "run"  # bars, not faces: how it answers does not matter here
GROUP = [Placed(collins(), 120, 150, 90), Placed(hopper(), 330, 170, 110, -25), Placed(collins(), 520, 180, 60, 30)]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a group of three and a photograph of nobody."""
    folder = tmp_path_factory.mktemp("photographs")
    Image.fromarray(lay(GROUP)).save(folder / "group.png")
    Image.fromarray(data.coffee()[:240, :320]).save(folder / "nobody.png")
    return folder


def agrees(face: Face, placed: Placed) -> None:
    """Asserts that a face was found where it was laid, upright to a few degrees."""
    assert np.hypot(face.x - placed.x, face.y - placed.y) < 0.12 * placed.side
    assert face.side == pytest.approx(placed.side, rel=0.1)
    assert (face.angle - placed.turn - placed.portrait.angle + 180) % 360 - 180 == pytest.approx(0, abs=6)


def test_the_faces_of_a_group_are_found_from_left_to_right_with_their_tilt() -> None:
    found = find(detector_of(None), lay(GROUP))
    assert len(found) == 3
    for face, placed in zip(found, GROUP, strict=True):
        agrees(face, placed)


@pytest.mark.parametrize("portrait", [collins(), hopper()], ids=["Collins", "Hopper"])
@pytest.mark.parametrize(
    ("turn", "side", "light"), [(0, 45, 1), (-38, 80, 1), (90, 80, 1), (180, 80, 1), (-90, 150, 1), (10, 80, 0.15)]
)
def test_a_face_is_found_small_tilted_on_its_side_and_in_the_dark(
    portrait: object, turn: float, side: float, light: float
) -> None:
    placed = Placed(portrait, 330, 170, side, turn)
    (face,) = find(detector_of(None), (lay([placed]) * light).astype(np.uint8))
    agrees(face, placed)


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "page", "china.jpg", "flower.jpg"])
def test_a_photograph_of_nobody_has_no_face(name: str) -> None:
    picture = load_sample_image(name) if "." in name else getattr(data, name)()
    assert find(detector_of(None), np.stack([picture] * 3, 2) if picture.ndim == 2 else picture) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (19, 21)])
def test_a_picture_that_is_too_small_has_no_face(shape: tuple[int, int]) -> None:
    assert find(detector_of(None), np.full((*shape, 3), 200, np.uint8)) == []


def test_a_face_of_a_large_photograph_is_given_in_its_own_pixels() -> None:
    placed = Placed(hopper(), 1500, 900, 400, 20)
    (face,) = find(detector_of(None), lay([placed], size=(3000, 1800)))
    agrees(face, placed)


def test_a_crop_is_upright_whatever_the_tilt() -> None:
    straight = crop(lay([Placed(collins(), 320, 180, 90)]), Face(320, 180, 90, 0), margin=0.2)
    assert straight.shape == (126, 126, 3)
    for turn in (30, -70, 180):
        turned = crop(lay([Placed(collins(), 320, 180, 90, turn)]), Face(320, 180, 90, turn), margin=0.2)
        assert np.abs(turned.astype(float) - straight).mean() < 6
        other = crop(lay([Placed(collins(), 320, 180, 90, turn)]), Face(320, 180, 90, -turn / 2), margin=0.2)
        assert np.abs(other.astype(float) - straight).mean() > 20


def test_a_crop_holds_the_pixels_of_the_square_and_repeats_those_of_the_edge() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert (crop(picture, Face(30, 20, 10, 0)) == picture[15:25, 25:35]).all()
    assert (crop(picture, Face(30, 20, 10, 0), margin=0.5) == picture[10:30, 20:40]).all()
    assert (crop(picture, Face(30, 20, 10, 90)) == np.rot90(picture[15:25, 25:35])).all()
    beyond = crop(picture, Face(0, 20, 10, 0))
    assert (beyond[:, 5:] == picture[15:25, :5]).all()
    assert (beyond[:, :5] == picture[15:25, :1]).all()


def test_the_eyes_of_a_crop_are_where_the_constants_say() -> None:
    eyes = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_eye_tree_eyeglasses.xml")
    distances, heights = [], []
    for portrait in (collins(), hopper()):
        for side in (60, 90, 120):
            for turn in (-12, 0, 12):
                picture = lay([Placed(portrait, 320, 180, side, turn)])
                (face,) = find(detector_of(None), picture)
                cut = cv2.resize(cv2.cvtColor(crop(picture, face), cv2.COLOR_RGB2GRAY), (160, 160))
                boxes = sorted(eyes.detectMultiScale(cut[:100], 1.05, 3, minSize=(20, 20), maxSize=(60, 60)).tolist())
                if len(boxes) == 2:
                    (left, top, wide, high), (right, below, width, height) = boxes
                    distances.append((right + width / 2 - left - wide / 2) / 160)
                    heights.append((top + high / 2 + below + height / 2) / 320)
    assert len(distances) > 12
    assert np.mean(distances) == pytest.approx(EYE_DISTANCE, abs=0.02)
    assert np.mean(heights) == pytest.approx(EYE_HEIGHT, abs=0.01)


@pytest.mark.parametrize("angle", [0, 35, -120])
def test_a_face_is_placed_by_its_eyes(angle: float) -> None:
    face = Face(300, 200, 100, angle)
    high = (EYE_HEIGHT - 0.5) * 100
    right, left = (np.array(face.at(x, high), np.float32) for x in (-50 * EYE_DISTANCE, 50 * EYE_DISTANCE))
    assert between_eyes(right, left, width=80) == pytest.approx(face, abs=1e-3)
    assert between_eyes(right, (right + left) / 2, width=80).side == 80  # a profile


def test_another_detector_is_an_onnx_file_of_yunet(tmp_path: Path) -> None:
    detector = detector_of(write_yunet(tmp_path / "yunet.onnx", width=48, eyes=12))
    picture = np.zeros((200, 320, 3), np.uint8)
    picture[80:88, 160:168] = picture[120:128, 40:48] = (255, 0, 0)
    side = 24 / EYE_DISTANCE
    expected = [Face(x, y + (0.5 - EYE_HEIGHT) * side, side, 0) for x, y in ((44, 124), (164, 84))]
    found = find(detector, picture)
    assert len(found) == 2
    assert np.allclose(found, expected)
    (sideways, _) = find(detector, np.ascontiguousarray(np.rot90(picture)))
    assert sideways.angle == 0  # a spot looks alike from all sides
    assert find(detector, np.zeros_like(picture)) == []


def _another_form(file: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 64, 64]) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Identity", ["input"], ["output"])], "graph", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(file))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda file: None, "there is no such file"),
        (lambda file: file.write_text("no network"), "give an ONNX file of YuNet"),
        (_another_form, "give an ONNX file of YuNet"),
    ],
    ids=["absent", "text", "another form"],
)
def test_a_detector_that_is_none_is_refused_in_one_line(
    write: object, said: str, photographs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "detector.onnx"
    write(file)
    assert command(["vision", "predict", str(RUN), str(photographs), "--faces", "--detector", str(file)]) == 2
    out, error = capfd.readouterr()
    assert out == ""
    assert error.startswith(f"ptapp: error: --detector {file}: ")
    assert error.endswith(f"{said}\n")
    assert len(error.splitlines()) == 1


def test_without_opencv_or_with_one_that_has_no_cascade_a_line_says_what_to_install(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["vision", "predict", str(RUN), str(photographs), "--faces"]
    monkeypatch.delattr(cv2, "CascadeClassifier")
    assert command(words) == 2
    assert "has no faces of its own any more: pip install 'av" in capsys.readouterr().err
    for name in [name for name in sys.modules if name.startswith("ptapp_vision.faces")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert command(words) == 2
    assert capsys.readouterr().err.startswith("ptapp: error: faces are found by OpenCV: pip install 'av")


def test_the_three_forms_have_a_line_a_face_and_an_image_without_one_is_said(
    photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    for form in ("", "--csv", "--json"):
        assert command(["vision", "predict", str(RUN), str(photographs), "--faces", *form.split()]) == 0
        out, error = capsys.readouterr()
        assert error == f"ptapp: {photographs / 'nobody.png'}: no face found\n"
        said[form] = out
    rows = list(csv.DictReader(io.StringIO(said["--csv"])))
    records = [json.loads(line) for line in said["--json"].splitlines()]
    table = said[""].splitlines()
    assert len(rows) == len(records) == len(table) == 3
    for number, (row, record, line) in enumerate(zip(rows, records, table, strict=True), start=1):
        assert record["file"] == row["file"] == str(photographs / "group.png")
        assert record["face"] == int(row["face"]) == number
        left, top, width, height = record["box"]
        assert [int(row[name]) for name in ("left", "top", "width", "height")] == record["box"]
        assert abs(left + width / 2 - GROUP[number - 1].x) < 10
        assert float(row["angle"]) == record["angle"]
        assert row["time"] == ""
        assert "time" not in record
        assert row["class"] == record["class"]
        assert float(row["confidence"]) == record["confidence"]
        assert f"face {number}   {width}x{height}+{left}+{top} " in line
        assert line.endswith(f"%  {record['class']}")
        assert len(line) <= 80


def test_the_answer_on_a_face_is_that_on_its_crop(photographs: Path, tmp_path: Path) -> None:
    model, picture = ptapp.load(RUN, device="cpu"), lay(GROUP)
    crops = [crop(picture, face) for face in find(detector_of(None), picture)]
    (answer, empty) = model.predict([photographs / "group.png", photographs / "nobody.png"], faces=True)
    assert empty == {"faces": []}
    assert [face["probabilities"] for face in answer["faces"]] == [one["probabilities"] for one in model.predict(crops)]
    assert [face["box"] for face in answer["faces"]] == [list(face.box) for face in find(detector_of(None), picture)]
    assert model.predict([picture, Image.fromarray(picture)], faces=True) == [answer, answer]
    with pytest.raises(UserError, match=r"^absent.png: cannot be opened"):
        model.predict(["absent.png"], faces=True)


def test_the_margin_is_added_on_each_side(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, picture = ptapp.load(RUN, device="cpu"), lay(GROUP)
    crops = [crop(picture, face, margin=0.5) for face in find(detector_of(None), picture)]
    words = ["vision", "predict", str(RUN), str(photographs / "group.png"), "--faces", "--json", "--margin", "0.5"]
    assert command([*words, "--device", "cpu"]) == 0
    answers = [json.loads(line)["probabilities"] for line in capsys.readouterr().out.splitlines()]
    assert answers == [one["probabilities"] for one in model.predict(crops)]


def test_a_telephones_photograph_is_turned_as_its_header_says(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    image = Image.fromarray(lay(GROUP))
    header = image.getexif()
    header[0x0112] = 6  # what is stored is turned by a quarter
    image.rotate(90, expand=True).save(tmp_path / "telephone.png", exif=header)
    image.save(tmp_path / "upright.png")
    model = ptapp.load(RUN, device="cpu")
    one, other = model.predict([tmp_path / "telephone.png", tmp_path / "upright.png"], faces=True)
    assert one == other
    assert len(one["faces"]) == 3


def test_annotated_copies_have_squares_about_the_faces_alone(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["vision", "predict", str(RUN), str(photographs), "--faces", "--draw", str(tmp_path / "out")]) == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["group.jpg", "nobody.jpg"]
    before, after = (
        np.asarray(Image.open(file)).astype(int) for file in (photographs / "group.png", tmp_path / "out" / "group.jpg")
    )
    changed = np.abs(after - before).max(2) > 60
    for placed in GROUP:
        near = changed[
            int(placed.y - placed.side) : int(placed.y + placed.side),
            int(placed.x - placed.side) : int(placed.x + placed.side),
        ]
        assert near.sum() > 4 * placed.side
        changed[
            int(placed.y - 1.2 * placed.side) : int(placed.y + placed.side),
            int(placed.x - placed.side) : int(placed.x + 2 * placed.side),
        ] = False
    assert not changed.any()
    plain = np.asarray(Image.open(tmp_path / "out" / "nobody.jpg")).astype(int)
    assert np.abs(plain - np.asarray(Image.open(photographs / "nobody.png"))).mean() < 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--draw", "out"], "--draw does nothing here: it is for --faces"),
        (["--margin", "0.1"], "--margin does nothing here: it is for --faces"),
        (["--detector", "x.onnx"], "--detector does nothing here: it is for --faces"),
        (["--every", "2"], "--every does nothing here: it is for --faces"),
        (["--faces", "--every", "2"], "--every does nothing here: it is for videos"),
        (["--faces", "--masks", "out"], "--masks does nothing here: it is for whole images, not for --faces"),
        (["--faces", "--margin", "-1"], "--margin -1"),
        (
            ["--faces", "--draw", "FOLDER/jpeg"],
            "that of FOLDER/group.png would take the place of FOLDER/jpeg/group.jpg",
        ),
        (
            ["--faces", "--draw", "out", "FOLDER/jpeg"],
            "FOLDER/group.png and FOLDER/jpeg/group.jpg would both be group.jpg",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    words: list[str],
    said: str,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("jpeg").mkdir()
    Image.fromarray(lay(GROUP[:1])).save("jpeg/group.jpg")
    Image.fromarray(lay(GROUP[:1])).save("group.png")
    files = (
        ["group.png", "jpeg/group.jpg"]
        if "FOLDER" in said and "--draw" in words and "out" not in words
        else ["group.png"]
    )
    words = [word.replace("FOLDER/", "") for word in words]
    assert command(["vision", "predict", str(RUN), *files, *words]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert said.replace("FOLDER/", "") in error
    assert len(error.splitlines()) == 1
    assert not Path("out").exists()


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_answered(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes((photographs / "group.png").read_bytes()[:5000])
    files = [str(tmp_path / "broken.png"), str(photographs / "group.png")]
    assert command(["vision", "predict", str(RUN), *files, "--faces", "--draw", str(tmp_path / "out")]) == 2
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert error.splitlines()[0].startswith(f"ptapp: {files[0]}: broken image")
    assert error.splitlines()[1:] == ["ptapp: error: 1 of 2 files could not be read (named above)"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["group.jpg"]


def test_masks_are_not_asked_for_by_face(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Predictor.__init__

    def segments(self: Predictor, *given: object) -> None:
        before(self, *given)
        self.kind = Segment(["a", "b"])

    monkeypatch.setattr(Predictor, "__init__", segments)
    assert command(["vision", "predict", str(RUN), str(photographs), "--faces"]) == 2
    with pytest.raises(UserError, match="not for --task segment"):
        ptapp.load(RUN).predict([photographs / "group.png"], faces=True)
