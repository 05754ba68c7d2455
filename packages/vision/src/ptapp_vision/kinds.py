"""The kinds of target of images: those of core, masks, and images that an autoencoder reproduces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.data.loader import Data, each_once
from ptapp_core.errors import UserError
from ptapp_core.kinds import known
from ptapp_core.kinds.kind import Kind, Predictions, name_width
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.judge import OfClasses
from ptapp_core.measure.metrics import confusion
from ptapp_core.measure.results import class_numbers
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_core.nn.losses import build_loss, wide
from ptapp_vision.answers import PALETTE, shares_answer
from ptapp_vision.card import Card
from ptapp_vision.data.splits import IGNORED, SEGMENT
from ptapp_vision.models.reconstruct import Reconstruction, reconstruction_metrics

_WORST = 6  # images on the picture of the worst
_KEYS = 24  # classes in its legend
_TRIED = 8  # pixels of a side of the images that a loss is tried on


class Reconstruct(Kind):
    """The target is the image itself, float (N, C, H, W); the classes of the data, int64 (N,), are not looked at."""

    name = "reconstruct"
    figures = ("loss", "psnr")
    called = "classes"
    output = "normalised images, as the input"

    def card(self) -> dict[str, Any]:
        """The classes of the data: the name of the model says the rest."""
        return {"classes": self.names}

    def forward(self, images: Tensor) -> Tensor:
        """The images (N, C, H, W) as the network gives them."""
        return images

    def loss(self, name: str | None, targets: Tensor, *, weighed: bool, label_smoothing: float) -> nn.Module:
        """`mse` (the usual one) or `l1`."""
        return build_loss(name or "mse")

    def task(self, model: nn.Module, loss: nn.Module) -> Reconstruction:
        """What is minimised."""
        return Reconstruction(model, loss)

    def predict(
        self, model: nn.Module, data: Data, runtime: Runtime, *, batch_size: int = 256, workers: int = 0
    ) -> "Reproduced":
        """How well the images of a set are reproduced."""
        loss = build_loss("mse")  # the same figure whatever it was trained with
        figures = reconstruction_metrics(model, data, runtime, loss=loss, batch_size=batch_size, workers=workers)
        return Reproduced({"mse": figures["loss"], "psnr": figures["psnr"]})

    def evaluate(
        self, model: nn.Module, data: Data, runtime: Runtime, *, loss: nn.Module, workers: int = 0
    ) -> Mapping[str, float]:
        """The loss that it learns from, and the peak signal-to-noise ratio."""
        return reconstruction_metrics(model, data, runtime, loss=loss, workers=workers)

    def as_learned(self, found: Sequence[str], target: Tensor) -> Tensor:
        """The classes as they are."""
        return target

    def answer(self, row: Sequence[float]) -> dict[str, Any]:
        """Raises UserError: an autoencoder has no answers."""
        raise UserError("an autoencoder has no classes; see its report, or export it")


@dataclass(frozen=True)
class Reproduced(Predictions):
    """How well images are reproduced."""

    measured: dict[str, float]
    """Mean squared error and psnr."""

    def metrics(self) -> dict[str, float]:
        """Mean squared error of normalised pixels, and psnr in dB."""
        return self.measured


class PixelCrossEntropy(nn.Module):
    """Cross-entropy of each pixel, a mean over the counted pixels of a sample, summed over the samples.

    Pixels of the class `IGNORED` count for nothing, and have no gradient. `weight` (K,) weighs a pixel by its class; of
    weights with a mean of one over the pixels of the data the scale of the loss stays.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Float scalar, of logits (N, K, H, W) and masks (N, H, W) of any integer type."""
        target = target.flatten(1)
        pixels = functional.cross_entropy(
            wide(logits).flatten(2).transpose(1, 2).flatten(0, 1),  # of pixels in a row: torch's own of images is not
            target.flatten().long(),  # the same on every run of a GPU
            self.weight,
            ignore_index=IGNORED,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        counted = (target != IGNORED).sum(1).clamp(min=1)
        return (pixels.view(target.shape).sum(1) / counted).sum()


class Segment(Kind):
    """One of K classes for each pixel: logits, float (N, K, H, W) -> probabilities; masks are uint8 (N, H, W)."""

    name = like = SEGMENT
    figures = ("miou", "pixel_accuracy", "loss")
    called = "classes"
    output = "probabilities of each pixel (batch, classes, height, width)"

    def card(self) -> dict[str, Any]:
        """The classes: the name of the model says the rest."""
        return {"classes": self.names}

    def forward(self, logits: Tensor) -> Tensor:
        """Probabilities (N, K, H, W) float32."""
        return logits.float().softmax(1)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of a small image, (K, H, W)."""
        return (self.outputs, _TRIED, _TRIED)

    def examples(self, count: int, draw: torch.Generator) -> list[Tensor]:
        """Random masks, int64 (count, H, W), some pixels of which are ignored."""
        masks = torch.randint(self.outputs, (count, _TRIED, _TRIED), generator=draw)
        return [masks.masked_fill(torch.rand(masks.shape, generator=draw) < 0.1, IGNORED)]

    def loss(self, name: str | None, targets: Tensor, *, weighed: bool, label_smoothing: float) -> PixelCrossEntropy:
        """`cross-entropy`; with `weighed`, classes count by the inverse of their number of pixels in the masks."""
        weight = None
        if weighed:
            counts = sum(mask.flatten().bincount(minlength=IGNORED + 1) for mask in targets)[: self.outputs]
            share = counts.float() * (counts > 0).sum() / counts.sum()
            weight = torch.where(counts > 0, 1 / share, 1.0)
        return PixelCrossEntropy(weight, label_smoothing)

    def predict(
        self, model: nn.Module, data: Data, runtime: Runtime, *, batch_size: int = 16, workers: int = 0
    ) -> "Segmented":
        """How the masks of a set agree with its own; they are counted batch by batch, and not kept."""
        return self._measured(model, data, runtime, PixelCrossEntropy(), batch_size, workers)

    def evaluate(
        self, model: nn.Module, data: Data, runtime: Runtime, *, loss: nn.Module, workers: int = 0
    ) -> Mapping[str, float]:
        """The `figures`, by the loss that it learns from."""
        found = self._measured(model, data, runtime, loss, 16, workers)
        figures = found.metrics()
        return {"loss": found.loss, "miou": figures["miou"], "pixel_accuracy": figures["pixel_accuracy"]}

    @torch.no_grad()
    def _measured(
        self, model: nn.Module, data: Data, runtime: Runtime, loss: nn.Module, batch_size: int, workers: int
    ) -> "Segmented":
        counts, total, peaks = torch.zeros(self.outputs, self.outputs, dtype=torch.int64), 0.0, [0.0]
        of_image: list[tuple[int, float, list[float], list[float]]] = []
        worst: list[Worst] = []
        for batch in each_once(data, batch_size, runtime, workers=workers):
            with runtime.autocast():
                outputs = model(batch["input"])
            peaks.append(outputs.abs().max().item())
            total += loss(outputs, batch["target"]).item()
            said = outputs.argmax(1)
            own = confusions(batch["target"], said, self.outputs).cpu()
            counts += own.sum(0)
            scores, pixels, index = mean_iou(own), own.sum((1, 2)).clamp(min=1)[:, None], batch["index"].tolist()
            shares = ((own.sum(dim) / pixels).tolist() for dim in (2, 1))
            of_image += zip(index, scores.tolist(), *shares, strict=True)
            for row in scores.argsort(stable=True)[:_WORST].tolist():
                shown = (batch["input"][row].cpu(), batch["target"][row].cpu(), said[row].byte().cpu())
                worst.append(Worst(scores[row].item(), index[row], *shown))
            worst = sorted(worst, key=lambda one: one[:2])[:_WORST]
        gathered = runtime.gather((counts, of_image, total, peaks, worst))
        refuse_not_finite(torch.tensor([peak for share in gathered for peak in share[3]]))
        rows = sorted(row for share in gathered for row in share[1])
        worst = sorted((one for share in gathered for one in share[4]), key=lambda one: one[:2])[:_WORST]
        summed = torch.stack([share[0] for share in gathered]).sum(0)
        return Segmented(summed, sum(share[2] for share in gathered) / len(rows), [row[1:] for row in rows], worst)

    def as_learned(self, found: Sequence[str], target: Tensor) -> Tensor:
        """Masks, uint8 (N, H, W), of the class numbers of this kind."""
        numbers = np.full(IGNORED + 1, IGNORED, np.uint8)
        numbers[: len(found)] = class_numbers(found, self.names, self.called)
        return torch.from_numpy(numbers[target.numpy()])

    def judge(self) -> "OfPixels":
        """By mean IoU, and by the likeliest class of each pixel."""
        return OfPixels(self.outputs)

    def answer(self, row: Sequence[float]) -> dict[str, Any]:
        """`shares`, how much of the image each class covers."""
        return shares_answer(self.names, row)

    def line(self, row: Sequence[float]) -> str:
        """The classes that are there, the largest first, with how much of the image they cover."""
        there = sorted(((value, name) for name, value in zip(self.names, row, strict=True) if value), reverse=True)
        return "  ".join(f"{name} {100 * value:.1f} %" for value, name in there)


class OfPixels(OfClasses):
    """One of K classes for each pixel, int32 (M,) of all images, without those of the class `IGNORED`."""

    figure: ClassVar[str] = "mean IoU"

    def __init__(self, classes: int) -> None:
        super().__init__(ignored=IGNORED)
        self._classes = classes

    def score(self, kept: Tensor, target: Tensor) -> float:
        """The mean IoU of all pixels (M,) together."""
        return mean_iou(confusion(target.long(), kept.long(), self._classes)).item()

    def chance(self, target: Tensor) -> float:
        """That of the commonest class of the pixels (M,) everywhere."""
        return self.score(target.mode().values.expand(len(target)), target)


class Worst(NamedTuple):
    """An image of a set whose mask is among the worst."""

    score: float
    row: int
    """Its place in the set."""
    image: Tensor
    """uint8 (C, H, W)."""
    true: Tensor
    """uint8 (H, W), as is `said`."""
    said: Tensor


@dataclass(frozen=True)
class Segmented(Predictions):
    """How the masks of a set agree with its own; the masks themselves are not kept."""

    counts: Tensor
    """(K, K) int64 pixels of the whole set: rows are the truth, columns what was said; without ignored ones."""
    loss: float
    """A mean over the samples."""
    images: Sequence[tuple[float, list[float], list[float]]]
    """Of each image its mean IoU, and the share of each class in its counted pixels: in truth, and as said."""
    worst: Sequence[Worst]

    def metrics(self) -> dict[str, float]:
        """Mean IoU over the classes that occur, the share of pixels that are right, and the cross-entropy as `nll`."""
        right = (self.counts.diagonal().sum() / self.counts.sum().clamp(min=1)).item()
        return {"miou": mean_iou(self.counts).item(), "pixel_accuracy": right, "nll": self.loss}

    def rows(self, samples: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
        """One dict per image: the shares of the classes, in truth and as said; the score is its mean IoU."""
        found = []
        for sample, (score, *shares) in zip(samples, self.images, strict=True):
            true, said = ({n: round(v, 6) for n, v in zip(names, own, strict=True) if v} for own in shares)
            found.append({"name": sample, "true": true, "said": said, "score": score})
        return found

    def report(self, names: Sequence[str]) -> tuple[dict[str, Any], str]:
        """The IoU of each class, null for one that does not occur, with their confusion; and a table."""
        width = name_width("class", names)
        recall = self.counts.diagonal() / self.counts.sum(1).clamp(min=1)
        columns = (names, iou(self.counts).tolist(), recall.tolist(), self.counts.sum(1).tolist())
        rows, lines = [], [f"{'class':<{width}}     iou  recall        pixels"]
        for name, overlap, found, pixels in zip(*columns, strict=True):
            there = overlap == overlap
            rows.append({"class": name, "iou": overlap if there else None, "recall": found, "pixels": pixels})
            shown = f"{overlap:6.3f}" if there else "     -"
            lines.append(f"{name[:width]:<{width}}  {shown}  {found:6.3f}  {pixels:12,}")
        return {"classes": rows, "confusion": self.counts.tolist()}, "\n".join(lines)

    def draw(self, names: Sequence[str], folder: Path, title: str) -> None:
        """`overlay.png`: the worst images, each with its true mask and the one that was said."""
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch

        from ptapp_core.measure.report import INK, clip, save

        figure = Figure(figsize=(7.5, 2.5 * len(self.worst) + 0.8), layout="constrained")
        figure.suptitle(f"{title}: the images of the lowest mean IoU", x=0.01, ha="left", fontsize=12, color=INK)
        grid = figure.subplots(len(self.worst), 3, squeeze=False)
        for axes, one in zip(grid, self.worst, strict=True):
            pixels = one.image.expand(3, -1, -1).permute(1, 2, 0).numpy()
            captions = (f"image {one.row + 1} of the split, mean IoU {one.score:.3f}", "truth", "prediction")
            shown = (pixels, _tinted(pixels, one.true), _tinted(pixels, one.said))
            for place, picture, caption in zip(axes, shown, captions, strict=True):
                place.imshow(picture, interpolation="nearest")
                place.set(xticks=[], yticks=[])
                place.spines[:].set_visible(False)
                place.set_xlabel(caption, fontsize=8, color=INK)
        there = self.counts.sum(0) + self.counts.sum(1) > 0
        keys = [
            Patch(color=PALETTE[n] / 255, label=clip(name, 20).replace("$", r"\$"))
            for n, name in enumerate(names)
            if there[n]
        ]
        figure.legend(handles=keys[:_KEYS], loc="outside lower center", ncols=6, frameon=False, fontsize=8)
        save(figure, folder / "overlay.png")


def confusions(target: Tensor, said: Tensor, classes: int) -> Tensor:
    """How many pixels of each class were given each class, (N, K, K) int64, from masks (N, H, W) of whole numbers."""
    image = torch.arange(len(target), device=target.device)[:, None, None]
    index = (image * classes + target.long()) * classes + said
    return index[target != IGNORED].bincount(minlength=len(target) * classes**2).view(-1, classes, classes)


def iou(counts: Tensor) -> Tensor:
    """Intersection over union of each class, (..., K) float64, from counts (..., K, K); NaN for one that is nowhere."""
    both = counts.diagonal(dim1=-2, dim2=-1).double()
    return both / (counts.sum(-1) + counts.sum(-2) - both)


def mean_iou(counts: Tensor) -> Tensor:
    """The mean over the classes that occur in truth or prediction, (...) float64; 1 where no pixel counts."""
    return iou(counts).nanmean(-1).nan_to_num(1.0)


def _tinted(pixels: npt.NDArray[np.uint8], mask: Tensor) -> npt.NDArray[np.uint8]:
    """An image uint8 (H, W, 3), half in the colours of the mask (H, W); ignored pixels as they are."""
    colours = (pixels // 2 + PALETTE[mask.numpy()] // 2).astype(np.uint8)
    return np.where((mask == IGNORED).numpy()[:, :, None], pixels, colours)


def kind_for(name: str, names: Sequence[str], targets: Tensor, *, embedding: int = 128) -> Kind:
    """The kind of some data: `names` of its outputs, and the training targets, int64 (N,), float64 (N, K) or uint8
    (N, H, W); `embedding` is as in core."""
    own: dict[str, type[Kind]] = {Reconstruct.name: Reconstruct, Segment.name: Segment}
    return own[name](names) if name in own else known.kind_for(name, names, targets, embedding=embedding)


def kind_of(card: Card) -> Kind:
    """The kind of a card, from a run's `meta.json`."""
    own: dict[str, type[Kind]] = {"autoencoder": Reconstruct, "unet": Segment}
    kind = Segment if card.kind == SEGMENT else own.get(card.name)
    return kind(card.classes) if kind else known.kind_of(card)
