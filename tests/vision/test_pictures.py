"""The sheet shows the mistakes, the surest first, and says so when there is none."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from torch import Tensor

from ptapp_core.kinds.classify import Predictions
from ptapp_vision import pictures
from ptapp_vision.pictures import mistakes

pytestmark = pytest.mark.draws

FASHION = Path(__file__).resolve().parents[3] / "shared" / "data" / "fashion-mnist" / "FashionMNIST" / "raw"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    save = pictures.save

    def keep(figure: Figure, out: Path) -> Path:
        figures.append(figure)
        return save(figure, out)

    monkeypatch.setattr(pictures, "save", keep)
    return figures


def draw(
    out: Path, confidence: list[float], predicted: list[int], channels: int = 1, most: int = 30, name: str = "cat"
) -> Path:
    """A sheet of samples that are all of class 0; sample k is a plain image of the grey value k."""
    count = len(predicted)
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, channels, 4, 6)
    names = [f"{k}.png" for k in range(count)]
    truth = torch.zeros(count, dtype=torch.int64)
    found = sure(truth, torch.tensor(predicted), torch.tensor(confidence)).mistakes([name, "dog"])
    return mistakes(images, found, names, out=out, most=most)


def sure(truth: Tensor, predicted: Tensor, confidence: Tensor) -> Predictions:
    """Predictions of some classes, each with its probability; the others share the rest."""
    classes = max(int(torch.cat([truth, predicted]).max()) + 1, 2)
    rest = ((1 - confidence) / (classes - 1))[:, None].expand(-1, classes)
    return Predictions(rest.scatter(1, predicted[:, None], confidence[:, None]), truth)


def labels(figure: Figure) -> list[str]:
    return [axes.get_xlabel() for axes in figure.axes]


@pytest.mark.parametrize("channels", [1, 3])
def test_only_mistakes_are_shown_the_most_confident_first(tmp_path: Path, drawn: list[Figure], channels: int) -> None:
    draw(tmp_path / "sheet.png", [0.6, 0.97, 0.99, 0.8], [1, 1, 0, 1], channels)
    assert labels(drawn[0]) == ["cat → dog 97 %\n1.png", "cat → dog 80 %\n3.png", "cat → dog 60 %\n0.png"]
    shown = [np.ma.getdata(axes.images[0].get_array()) for axes in drawn[0].axes]
    assert [int(image[0, 0, 0]) for image in shown] == [1, 3, 0]
    assert shown[0].shape == (4, 6, 3)


def test_at_most_so_many_are_shown_and_all_are_counted(tmp_path: Path, drawn: list[Figure]) -> None:
    draw(tmp_path / "sheet.png", [0.6] * 9, [1] * 8 + [0], most=7)
    assert [label.split("\n")[1] for label in labels(drawn[0])] == [f"{k}.png" for k in range(7)]  # ties in order
    assert drawn[0].get_suptitle() == "the 7 worst of 8 mistakes in 9 images"


def test_a_sheet_without_mistakes_says_so(tmp_path: Path, drawn: list[Figure]) -> None:
    out = draw(tmp_path / "sheet.png", [0.5, 0.9], [0, 0])
    assert [text.get_text() for text in drawn[0].findobj(Text) if text.get_text()] == ["no mistakes in 2 images"]
    with Image.open(out) as picture:
        assert picture.format == "PNG"


def test_names_are_no_formulas_and_long_ones_are_clipped(tmp_path: Path, drawn: list[Figure]) -> None:
    draw(tmp_path / "sheet.png", [0.9], [1], name=r"$\bad{" * 9)
    assert labels(drawn[0]) == [r"$\bad{$\bad{…" + " → dog 90 %\n0.png"]


@pytest.mark.shared_data
@pytest.mark.skipif(not FASHION.exists(), reason="needs the real Fashion-MNIST in ../shared/data/fashion-mnist")
def test_real_images_are_shown_upright_and_unchanged(tmp_path: Path, drawn: list[Figure]) -> None:
    images = _idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)[:50]
    truth = _idx("t10k-labels-idx1-ubyte.gz", 8)[:50].long()
    classes = [str(k) for k in range(10)]
    names = [f"#{k}" for k in range(50)]
    found = sure(truth, (truth + 1) % 10, torch.linspace(1, 0.5, 50)).mistakes(classes)
    mistakes(images, found, names, out=tmp_path / "sheet.png")
    assert len(drawn[0].axes) == 30
    first = np.ma.getdata(drawn[0].axes[0].images[0].get_array())
    assert (first[..., 0] == images[0, 0].numpy()).all()


def _idx(name: str, header: int) -> Tensor:
    with gzip.open(FASHION / name) as file:
        return torch.frombuffer(bytearray(file.read()[header:]), dtype=torch.uint8)
