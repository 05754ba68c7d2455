"""`find-batch` tries the sizes that fit, and suggests the smallest that is nearly as quick as the quickest."""

import csv
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from contract.of_nlp import write_texts
from contract.rows import command
from ptapp_core.tune import batches
from ptapp_core.tune.batches import Size, beyond, suggestion


def sizes(*speeds: float, memory: float = 0.0) -> list[Size]:
    """Sizes from 8 on, which take 1 MB and `memory` MB a sample."""
    found = [(8 * 2**place, speed) for place, speed in enumerate(speeds)]
    return [Size(batch, batch / speed, speed, round(1e6 + memory * 1e6 * batch)) for batch, speed in found]


def test_the_smallest_size_that_is_nearly_as_quick_as_the_quickest_is_suggested() -> None:
    assert suggestion(sizes(100, 150, 196, 200, 190)).batch == 32
    assert suggestion(sizes(100, 150, 200, 400)).batch == 64
    assert suggestion(sizes(100)).batch == 8


def test_a_size_that_would_fill_the_memory_is_not_tried() -> None:
    tried = sizes(1, 1, 1, memory=0.5)  # 17 MB with 32 samples, and 33 with 64
    assert not beyond(tried, 33e6, 64)
    assert beyond(tried, 32.9e6, 64) == "64 samples would take 33 MB, and 33 MB may be taken"
    assert beyond(tried, 1e12, 63) == "there are 63 training samples"
    assert beyond(tried[::2], 33e6, 63) == "there are 63 training samples"
    assert not beyond(tried[::2], 33e6, 64)  # where 16 was not trained
    assert beyond(tried[:1], 4e6, 64)  # of one size it is known that two of it take no less


def job(tmp_path: Path, *more: str) -> list[str]:
    write_texts(tmp_path / "texts", 200)
    words = "nlp find-batch --task classify --dim 8 --layers 1 --device cpu --threads 1 --steps 10"
    return [*words.split(), "--data", str(tmp_path / "texts"), "--run-dir", str(tmp_path / "runs"), *more]


@pytest.mark.slow
@pytest.mark.draws
def test_a_table_a_picture_and_a_size_are_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(job(tmp_path, "--largest", "16")) == 0
    said = capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / "nlp-find-batch").iterdir()
    header, *rows = csv.reader((folder / "batches.csv").read_text().splitlines())
    assert header == ["batch", "seconds", "speed", "memory"]
    assert [int(row[0]) for row in rows] == [8, 16]
    for batch, seconds, speed, memory in rows:
        assert float(speed) == pytest.approx(int(batch) / float(seconds))
        assert int(memory) > 1e8  # torch alone takes that
    with Image.open(folder / "batches.png") as image:
        assert image.width > 100
    assert "the end: --largest is 16" in said
    assert "suggested: --batch-size " in said


def found_of(size: int, **other: Any) -> dict[str, Any]:
    """What a process finds of a size."""
    found = {"seconds": 0.1, "peak": 10**8, "device_peak": None, "device_free": None, "samples": 1000, "batch": size}
    return {**found, **other}


def test_a_size_that_fails_ends_the_search_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[dict[str, Any]] = []

    def train_in(domain: Any, settings: Any, changes: dict[str, Any], *, steps: int) -> dict[str, Any]:
        given.append(changes)
        if changes["batch_size"] in failing:
            return {"reason": "it was killed by signal 9, as happens when memory is short"}
        return found_of(changes["batch_size"])

    monkeypatch.setattr(batches, "train_in", train_in)
    failing = [32, 64]
    assert command(job(tmp_path)) == 0
    assert [changes["batch_size"] for changes in given] == [8, 16, 32]
    said = capsys.readouterr().out
    assert "the end: it was killed by signal 9" in said
    assert "suggested: --batch-size 16," in said
    failing = [8, 16]
    assert command(job(tmp_path, "--name", "none")) == 2
    assert "it was killed by signal 9" in capsys.readouterr().err
    assert not list((tmp_path / "runs" / "nlp-find-batch").glob("*none*"))


ALONE = "--batch-size {} leaves one of 33 training samples alone in a micro-batch; give --batch-size 11"
LARGER = "--batch-size {} is larger than the training set of 33 samples; make it smaller"


@pytest.mark.parametrize(
    ("found", "tried", "said", "code"),
    [
        ({8: {"batch": 11, "samples": 33}}, [8, 16], ALONE.format(8), 0),
        ({8: {"reason": "--batch-size 8 is too small for --accumulate 16 micro-batches"}}, [8, 16], "too small", 0),
        ({8: {"batch": 2, "samples": 5}}, [8], "the training set of 5 samples", 2),
        ({8: {"reason": LARGER.format(8)}}, [8], LARGER.format(8), 2),
        ({8: {"reason": "any --batch-size leaves one of 3"}}, [8], "any --batch-size leaves one of 3", 2),
        ({8: {"reason": ALONE.format(8)}, 16: {"reason": ALONE.format(16)}}, [8, 16], f"error: find-batch: {ALONE}", 2),
    ],
)
def test_a_size_that_was_not_trained_is_said_and_tried_again_larger_where_that_may_do(
    found: dict[int, dict[str, Any]],
    tried: list[int],
    said: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given: list[int] = []

    def train_in(domain: Any, settings: Any, changes: dict[str, int], *, steps: int) -> dict[str, Any]:
        given.append(changes["batch_size"])
        return found_of(given[-1], **found.get(given[-1], {}))

    monkeypatch.setattr(batches, "train_in", train_in)
    assert command(job(tmp_path, "--largest", "16")) == code
    assert given == tried
    captured = capsys.readouterr()
    assert said.format(16) in (captured.err if code else captured.out)
    if not code:
        (folder,) = (tmp_path / "runs" / "nlp-find-batch").iterdir()
        assert [row[0] for row in csv.reader((folder / "batches.csv").read_text().splitlines())] == ["batch", "16"]


def test_sizes_that_do_not_rise_and_options_without_effect_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(job(tmp_path, "--smallest", "64", "--largest", "32")) == 2
    assert "--smallest 64 must be at most --largest 32" in capsys.readouterr().err
    assert command(job(tmp_path, "--batch-size", "32")) == 2
    assert "--batch-size" in capsys.readouterr().err
