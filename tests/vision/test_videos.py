"""Faces of videos: frame by frame, in the three forms of `predict`, and in an annotated MP4 that is whole or absent."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from contract.rows import command
from ptapp_vision.data.decode import Unreadable
from ptapp_vision.faces import predict, video
from ptapp_vision.faces.video import frames, writer
from vision.portraits import Placed, collins, lay

pytestmark = pytest.mark.slow

RUN = Path(__file__).parents[1] / "saved" / "vision" / "run"
STEP = 5  # pixels by which the face moves from frame to frame
RATE = 12.5


def scene(number: int) -> np.ndarray:
    """A face that moves to the right, and is gone from the tenth frame on."""
    placed = [Placed(collins(), 70 + STEP * number, 90, 60)] if number < 10 else []
    return lay(placed, size=(201, 161))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of twelve frames."""
    file = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with writer(file) as write:
        for number in range(12):
            write(number / RATE, Image.fromarray(scene(number)))
    return file


def predicted(*words: object) -> int:
    return command(["vision", "predict", str(RUN), *map(str, words), "--faces"])


def test_frames_come_in_order_with_their_times_and_pixels(clip: Path) -> None:
    found = list(frames(clip))
    assert [frame.time for frame in found] == pytest.approx([number / RATE for number in range(12)], abs=1e-3)
    for number, frame in enumerate(found):
        assert frame.picture.shape == (160, 200, 3)  # even, as the format has it
        assert np.abs(frame.picture.astype(int) - scene(number)[:160, :200]).mean() < 4


def test_a_video_whose_frames_have_unequal_distances_keeps_them(tmp_path: Path) -> None:
    times = [0, 0.1, 0.15, 0.9, 1.0]
    with writer(tmp_path / "clip.mp4") as write:
        for time in times:
            write(time, Image.new("RGB", (64, 64), (round(200 * time), 0, 0)))
    found = list(frames(tmp_path / "clip.mp4"))
    assert [frame.time for frame in found] == pytest.approx(times, abs=1e-3)


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_telephones_video_is_turned_as_its_header_says(degrees: int, tmp_path: Path) -> None:
    picture = lay([Placed(collins(), 60, 70, 50)], size=(160, 128))
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("h264", rate=10)
        stored = np.ascontiguousarray(np.rot90(picture, -degrees // 90))
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode(None))
    (frame,) = frames(tmp_path / "clip.mp4")
    assert frame.picture.shape == picture.shape
    assert np.abs(frame.picture.astype(int) - picture).mean() < 4


def test_the_three_forms_have_the_time_and_the_moving_box(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for form in ("", "--csv", "--json"):
        assert predicted(clip, "--every", 3, *form.split()) == 0
        out, error = capsys.readouterr()
        assert error == ""  # of frames 0, 3, 6 and 9
        said[form] = out
    rows = list(csv.DictReader(io.StringIO(said["--csv"])))
    records = [json.loads(line) for line in said["--json"].splitlines()]
    table = said[""].splitlines()
    assert len(rows) == len(records) == len(table) == 4
    for number, row, record, line in zip((0, 3, 6, 9), rows, records, table, strict=True):
        assert float(row["time"]) == record["time"] == pytest.approx(number / RATE, abs=1e-3)
        assert int(row["left"]) + int(row["width"]) / 2 == pytest.approx(70 + STEP * number, abs=4)
        assert [row["file"], int(row["face"]), row["class"]] == [record["file"], record["face"], record["class"]]
        assert f"{number / RATE:8.2f} s  face 1 " in line
        assert len(line) <= 80


def test_frames_without_a_face_are_counted(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predicted(clip, "--json") == 0
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 10
    assert error == f"ptapp: {clip}: no face found in 2 of 12 frames\n"


def test_the_annotated_copy_has_every_frame_with_the_last_faces(clip: Path, tmp_path: Path) -> None:
    assert predicted(clip, "--every", 4, "--draw", tmp_path / "out") == 0
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["clip.mp4"]
    before, after = list(frames(clip)), list(frames(tmp_path / "out" / "clip.mp4"))
    assert [frame.time for frame in after] == pytest.approx([frame.time for frame in before], abs=1e-3)
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        drawn = np.abs(one.picture.astype(int) - other.picture).max(2) > 90
        columns = drawn[70:100].any(0).nonzero()[0]  # beside the face, below the label
        middle = 70 + STEP * (number - number % 4)
        assert abs(columns.min() - (middle - 30)) < 8
        assert abs(columns.max() - (middle + 30)) < 8


def _audio_alone(file: Path) -> None:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])


def _matroska(file: Path) -> None:
    """Three seconds of pictures, which the header says, and five of sound."""
    with av.open(str(file), "w") as container:
        stream, sound = container.add_stream("h264", rate=10), container.add_stream("aac", rate=8000)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 64, "yuv420p", 5
        sound.layout = "mono"
        for _ in range(30):
            noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 40_000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux([*sound.encode(frame), *stream.encode(None), *sound.encode(None)])


def _cut_short(file: Path) -> None:
    _matroska(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_sound_may_last_longer_than_the_pictures(tmp_path: Path) -> None:
    _matroska(tmp_path / "clip.mkv")
    assert len(list(frames(tmp_path / "clip.mkv"))) == 30


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent.mp4": (lambda file: None, "cannot be decoded as a video (No such file or directory)"),
    "text.mp4": (lambda file: file.write_text("no video"), "cannot be decoded as a video (Invalid data"),
    "empty.mov": (lambda file: file.touch(), "cannot be decoded as a video (Invalid data"),
    "sound.mp4": (_audio_alone, "has no video stream"),
    "half.mkv": (_cut_short, "is cut short: it has "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_whole_video_is_named_in_one_line_and_leaves_no_copy(
    name: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, said = BROKEN[name]
    write(tmp_path / name)
    assert predicted(tmp_path / name, clip, "--every", 100, "--draw", tmp_path / "out") == 2
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 1
    first, last = error.splitlines()
    assert first.startswith(f"ptapp: {tmp_path / name}: {said}")
    assert last == "ptapp: error: 1 of 2 files could not be read (named above)"
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["clip.mp4"]


def test_half_of_an_mp4_is_unreadable(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "half.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(Unreadable):
        list(frames(tmp_path / "half.mp4"))


def test_an_interrupted_video_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def some(file: Path) -> Iterator[video.Frame]:
        for number in range(100):  # more than the encoder keeps back
            yield video.Frame(number / RATE, scene(0))
        seen.extend(part.name for part in (tmp_path / "out").iterdir())
        raise KeyboardInterrupt

    (tmp_path / "clip.mp4").touch()
    monkeypatch.setattr(predict, "frames", some)
    assert predicted(tmp_path / "clip.mp4", "--every", 100, "--draw", tmp_path / "out") == 130
    assert seen == [".clip.mp4.part"]
    assert list((tmp_path / "out").iterdir()) == []


def test_without_pyav_a_line_says_what_to_install(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(video, "av", None)
    assert predicted(clip) == 2
    assert f"ptapp: {clip}: is a video, which needs PyAV: pip install 'av" in capsys.readouterr().err


def test_photographs_and_videos_of_a_folder_are_answered_together(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "notes.txt").write_text("ours")
    Image.fromarray(scene(0)).save(tmp_path / "photo.png")
    assert predicted(tmp_path, "--every", 12) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert [line.index("face 1") for line in lines] == [lines[0].index("face 1")] * 2
    assert predicted(tmp_path, "--csv", "--every", 12) == 0
    times = [row["time"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert times == ["0.000", ""]
