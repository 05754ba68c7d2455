"""The pictures are written whole, show what was measured, and take names and sizes as they come."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ptapp_core.measure import report
from ptapp_core.measure.report import _fonts, clip, confusion_matrix, curves, save

pytestmark = [pytest.mark.slow, pytest.mark.draws]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    save = report.save

    def keep(figure: Figure, out: Path) -> Path:
        figures.append(figure)
        return save(figure, out)

    monkeypatch.setattr(report, "save", keep)
    return figures


def texts(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(Text)} - {""}


def metrics(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_each_figure_has_a_panel_with_the_loss_first_and_the_rate_last(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [{"step": k, "lr": 0.1, "return": k, "loss": 1 / k, "units/s": 9.0} for k in range(1, 5)]
    rows += [{"step": 4, "val/accuracy": 0.5, "val/loss": 0.7}]
    curves(metrics(tmp_path / "m.jsonl", rows), tmp_path / "curves.png")
    titles = [axes.get_title(loc="left") for axes in drawn[0].axes]
    assert titles == ["loss", "return", "accuracy", "learning rate"]


@pytest.mark.parametrize(("name", "best"), [("loss", "best 0.2 at 3,000"), ("accuracy", "best 0.9 at 1,000")])
def test_the_best_evaluation_is_marked(tmp_path: Path, drawn: list[Figure], name: str, best: str) -> None:
    rows = [{"step": 1000 * k, f"val/{name}": value} for k, value in ((1, 0.9), (2, 0.4), (3, 0.2), (4, 0.3))]
    curves(metrics(tmp_path / "m.jsonl", rows), tmp_path / "curves.png")
    assert best in texts(drawn[0])


def test_a_long_series_is_drawn_as_mean_and_range_of_few_points(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [{"step": k, "loss": float(k % 2)} for k in range(20_000)]
    curves(metrics(tmp_path / "m.jsonl", rows), tmp_path / "curves.png")
    axes = drawn[0].axes[0]
    values = np.asarray(axes.get_lines()[0].get_ydata(), float)
    assert len(values) <= 250
    assert values.mean() == pytest.approx(0.5)
    reached = axes.collections[0].get_datalim(axes.transData)
    assert (reached.y0, reached.y1) == (0, 1)


def test_frames_are_the_x_axis_where_the_record_has_them(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [{"step": k, "frames": 64 * k, "loss": 1 / k} for k in range(1, 4)]
    curves(metrics(tmp_path / "m.jsonl", [*rows, {"step": 3, "frames": 192, "val/return": 5.0}]), tmp_path / "c.png")
    first, second = drawn[0].axes
    assert first.get_xlabel() == second.get_xlabel() == "frames"
    assert list(first.get_lines()[0].get_xdata()) == [64, 128, 192]  # type: ignore[arg-type]
    assert second.get_title(loc="right") == "best 5 at 192"


def test_names_that_no_font_has_are_told_apart_at_the_axes(tmp_path: Path) -> None:
    counts, pictures = torch.eye(2, dtype=torch.int64), []
    for names in (["猫", "犬"], ["犬", "猫"]):
        confusion_matrix(counts, names, tmp_path / "a.png", title="test")
        pictures.append((tmp_path / "a.png").read_bytes())
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize("rows", [[], [{"step": 1, "loss": None}], [{"step": 1, "loss": 0.5, "val/loss": 0.5}]])
def test_nothing_or_one_point_or_no_finite_one_still_makes_a_picture(tmp_path: Path, rows: list[Any]) -> None:
    out = curves(metrics(tmp_path / "m.jsonl", rows), tmp_path / "report" / "curves.png")
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 20


def test_few_points_are_marked_and_stand_at_their_steps(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [{"step": step, "val/loss": 1 / step} for step in (2, 4, 6)] + [{"step": 6, "loss": 0.1, "lr": 1e-3}]
    curves(metrics(tmp_path / "m.jsonl", rows), tmp_path / "curves.png")
    (trained, evaluated, _), (rate,) = (axes.get_lines() for axes in drawn[0].axes)
    assert {line.get_marker() for line in (trained, evaluated, rate)} == {"o"}
    assert trained.get_markersize() == rate.get_markersize() > evaluated.get_markersize()
    assert len({axes.get_xlim() for axes in drawn[0].axes}) == 1
    curves(metrics(tmp_path / "m.jsonl", [{"step": k, "loss": 1 / k} for k in range(1, 60)]), tmp_path / "many.png")
    (many,) = drawn[1].axes[0].get_lines()
    assert many.get_marker() not in ("o", ".")
    curves(metrics(tmp_path / "m.jsonl", rows[-1:]), tmp_path / "one.png")
    assert [tick for tick in drawn[2].axes[0].get_xticks() if 5 <= tick <= 7] == [5, 6, 7]


def test_figures_that_are_not_finite_leave_the_others_visible(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}, {"step": 3, "loss": 1.0}]
    curves(metrics(tmp_path / "m.jsonl", rows), tmp_path / "curves.png")
    assert list(drawn[0].axes[0].get_lines()[0].get_xdata()) == [1, 3]


def test_a_figure_over_many_decades_gets_a_logarithmic_axis(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [{"step": k, "loss": 10.0**-k, "accuracy": k / 8} for k in range(1, 8)]
    curves(metrics(tmp_path / "m.jsonl", rows), tmp_path / "curves.png")
    assert [axes.get_yscale() for axes in drawn[0].axes] == ["log", "linear"]


@pytest.mark.parametrize("size", [1, 2, 7, 10, 100])
def test_a_confusion_matrix_of_any_size_names_every_class(tmp_path: Path, drawn: list[Figure], size: int) -> None:
    counts = np.arange(size * size).reshape(size, size) % 13
    names = [f"class {k}" for k in range(size)]
    confusion_matrix(counts, names, tmp_path / "confusion.png")
    assert set(names) <= texts(drawn[0])


def test_the_colour_is_the_share_of_the_row_and_the_text_the_count(tmp_path: Path, drawn: list[Figure]) -> None:
    confusion_matrix([[30, 10], [0, 0]], ["often", "never"], tmp_path / "confusion.png")
    shown = np.ma.getdata(drawn[0].axes[0].images[0].get_array())
    assert shown[0].tolist() == [0.75, 0.25]
    assert np.isnan(shown[1]).all()
    assert {"30", "10"} <= texts(drawn[0])


def test_counts_are_left_out_where_they_do_not_fit(tmp_path: Path, drawn: list[Figure]) -> None:
    confusion_matrix(np.full((60, 60), 777), [f"c{k}" for k in range(60)], tmp_path / "confusion.png")
    assert "777" not in texts(drawn[0])


def test_class_names_are_no_formulas_and_long_ones_are_clipped(tmp_path: Path, drawn: list[Figure]) -> None:
    confusion_matrix([[1, 2], [3, 4]], [r"$\broken{_$", "a" * 300], tmp_path / "confusion.png")
    assert {r"$\broken{_$", "a" * 19 + "…"} <= texts(drawn[0])


def test_counts_that_do_not_match_the_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\), 3 classes need \(3, 3\)"):
        confusion_matrix([[1, 2], [3, 4]], ["a", "b", "c"], tmp_path / "confusion.png")


def test_names_in_another_script_are_drawn_without_a_warning(tmp_path: Path) -> None:
    assert confusion_matrix([[1, 2], [3, 4]], ["开心", "悲伤"], tmp_path / "confusion.png").exists()


def test_a_picture_that_cannot_be_drawn_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = confusion_matrix([[1, 2], [3, 4]], ["a", "b"], tmp_path / "confusion.png")
    before = out.read_bytes()

    def fail(self: Figure, path: Path, **options: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="No space"):
        confusion_matrix([[4, 2], [3, 4]], ["a", "b"], out)
    assert out.read_bytes() == before


def test_drawing_leaves_pyplot_alone() -> None:
    program = "import sys, ptapp_core.measure.report; print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "False"


def test_a_text_is_clipped_to_the_width() -> None:
    assert [clip("pullover", width) for width in (8, 7)] == ["pullover", "pullov…"]


def test_names_in_a_script_that_no_font_has_can_be_told_apart(tmp_path: Path) -> None:
    figure = Figure()
    texts = [figure.text(0.1, y, name) for y, name in ((0.2, "猫 cat"), (0.4, "犬"), (0.6, "café"), (0.8, "𓃠"))]
    save(figure, tmp_path / "names.png")
    shown = [text.get_text() for text in texts]
    assert shown[2] == "café"
    assert len(set(shown)) == 4
    _, characters = _fonts()
    assert all(ord(each) in characters or each.isspace() for text in shown for each in text)


@pytest.mark.parametrize("knows_cjk", [True, False])
def test_names_of_any_script_are_cut_to_the_width_that_they_are_drawn_in(
    knows_cjk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    characters = frozenset(range(0x10000 if knows_cjk else 0x3000))
    monkeypatch.setattr(report, "_fonts", lambda: (["any"], characters))
    assert clip("a name of 23 characters", 24) == "a name of 23 characters"
    long = "非常に長い日本語のクラス名はここに表示されます"
    assert clip(long, 24) == long[: 11 if knows_cjk else 3] + "…"
    assert clip("日本", 24) == "日本"
    assert clip("", 24) == ""
