"""Embeddings: a sample becomes a vector, and those of a class are to lie together."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from unicodedata import normalize

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.data.companions import Companions
from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch
from ptapp_core.kinds.card import OutputsCard
from ptapp_core.kinds.kind import Mistake, VectorKind, VectorPredictions, kind_in, mean_by, mean_of, name_width
from ptapp_core.kinds.wording import vector_answer
from ptapp_core.measure.judge import OfVectors
from ptapp_core.measure.metrics import ratio
from ptapp_core.measure.results import class_numbers
from ptapp_core.measure.retrieval import Nearest, average_precisions, nearest, queries
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_core.nn.losses import build_loss
from ptapp_core.settings.embed import EmbeddingSettings
from ptapp_core.settings.supervised import SupervisedSettings
from ptapp_core.task import Task

_NAME = 13  # characters of a class's name under a picture
_SHOWN = 4  # numbers of a vector on the console


class Embed(VectorKind):
    """What the network gives, float (N, K) -> vectors of length 1, float32 (N, K); targets are classes, int64 (N,).

    Args:
        names: of the classes, and not of the numbers.
        embedding: K, how many numbers a vector has.
    """

    name = "embed"
    like = "classify"
    figures = ("recall_at_1", "loss")
    called = "classes"
    output = "vectors of length 1, float32 (batch, vector_size)"

    def __init__(self, names: Sequence[str], embedding: int) -> None:
        super().__init__(names)
        self.embedding = embedding

    @classmethod
    def of_card(cls, card: OutputsCard) -> Self:
        """With as many numbers."""
        assert card.vector_size is not None
        return cls(card.classes, card.vector_size)

    @property
    def outputs(self) -> int:
        """The numbers of a vector."""
        return self.embedding

    def card(self) -> dict[str, Any]:
        """With the numbers of a vector."""
        return {**super().card(), "vector_size": self.embedding}

    def use(self) -> dict[str, Any]:
        """With the numbers of a vector."""
        return {**super().use(), "vector_size": self.embedding}

    def forward(self, outputs: Tensor) -> Tensor:
        """Vectors of length 1, (N, K) float32."""
        return functional.normalize(outputs.float())

    def averaged(self, outputs: Tensor, counted: Tensor) -> Tensor:
        """The mean of the windows' vectors of length 1."""
        return mean_of(functional.normalize(outputs.float(), dim=2), counted)

    def loss(self, name: str | None, targets: Tensor, *, weighed: bool, label_smoothing: float) -> nn.Module:
        """`triplet` (the usual one) or `contrastive`, with its usual margin."""
        return build_loss(name or "triplet")

    def loss_of(self, settings: SupervisedSettings, targets: Tensor, device: torch.device) -> nn.Module:
        """With the margin of the settings."""
        assert isinstance(settings, EmbeddingSettings), "of a domain that learns embeddings"
        return build_loss(settings.loss or "triplet", margin=settings.margin).to(device)

    def task(self, model: nn.Module, loss: nn.Module) -> "Triplets":
        """What is minimised."""
        return Triplets(model, loss)

    def companions(self, target: Tensor) -> Companions:
        """The samples that come with each anchor while the model learns."""
        return Companions(target)

    @property
    def width(self) -> int:
        """The number of the class."""
        return 1

    def examples(self, count: int, draw: torch.Generator) -> list[Tensor]:
        """Random classes (N,) int64."""
        return [torch.randint(len(self.names), (count,), generator=draw)]

    def as_learned(self, found: Sequence[str], target: Tensor) -> Tensor:
        """Class numbers (N,) as this kind counts them; a class that it has not learned, which is as good to measure,
        becomes another one of its `names`."""
        known = {normalize("NFC", name) for name in self.names}
        self.names += [name for name in found if normalize("NFC", name) not in known]
        return torch.tensor(class_numbers(found, self.names, self.called))[target]

    def gathered(self, outputs: Tensor, target: Tensor) -> "Embeddings":
        """The vectors of a set."""
        return Embeddings(self(refuse_not_finite(outputs)), target)

    def judge(self) -> OfVectors:
        """By recall at 1, and by the vectors themselves."""
        return OfVectors()

    def answer(self, row: Sequence[float]) -> dict[str, Any]:
        """The `vector`."""
        return vector_answer(row)

    def columns(self) -> list[str]:
        """A number for each."""
        return [str(number) for number in range(self.embedding)]

    def line(self, row: Sequence[float]) -> str:
        """The first of the numbers."""
        return "  ".join(f"{value:7.4f}" for value in row[:_SHOWN]) + ("  ..." if len(row) > _SHOWN else "")


class Embedder(nn.Module):
    """Inputs of a model, (N, ...), to vectors of length 1, float32 (N, K), on the model's device.

    They are those of a model that learned to embed; of another one the features that its head takes, of a copy that
    has none.

    Args:
        head: the name of the head in the model.
    """

    def __init__(self, model: nn.Module, head: str) -> None:
        super().__init__()
        if not isinstance(kind_in(model), Embed):
            model = deepcopy(model)
            model.set_submodule(head, nn.Identity())
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, ...) -> (N, K)."""
        return functional.normalize(self.model(inputs).flatten(1).float())


class Triplets(Task):
    """Minimises a loss of anchors, positives and negatives, which a batch holds one after the other.

    Args:
        model: (3 N, ...) -> what the network gives, float (3 N, K); it has an `Embed` as its kind.
        loss: vectors of length 1, float32 (N, K), three times -> the loss summed over the anchors.
    """

    def __init__(self, model: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> tuple[Tensor, int, dict[str, Tensor]]:
        """Units are anchors."""
        anchor, positive, negative = kind_in(self.model)(self.model(batch["input"])).chunk(3)
        return self.loss(anchor, positive, negative), len(anchor), {}


@dataclass(frozen=True)
class Embeddings(VectorPredictions):
    """The vectors of a data set, in its order, and what their nearest neighbours say; itself is none of a sample's.

    A sample whose class has no other one in the set is a neighbour of others, and no query.
    """

    vectors: Tensor
    """(N, K) float32, of length 1."""
    target: Tensor
    """(N,) int64."""

    @property
    def answers(self) -> Tensor:
        """(N, K) float32."""
        return self.vectors

    @cached_property
    def queries(self) -> Tensor:
        """The samples with another one of their class, int64 (M,)."""
        return queries(self.target).nonzero().flatten()

    @cached_property
    def nearest(self) -> Nearest:
        """The nearest neighbour of each sample."""
        return nearest(self.vectors)

    @cached_property
    def right(self) -> Tensor:
        """Whether the nearest neighbour is of the sample's class, bool (N,)."""
        return self.target[self.nearest.row] == self.target

    @cached_property
    def precisions(self) -> Tensor:
        """The average precision at R, float64 (N,); see `retrieval.average_precisions`."""
        return average_precisions(self.vectors, self.target)

    def metrics(self) -> dict[str, float]:
        """Recall at 1, the share of queries whose nearest neighbour is of their class; mean average precision at R."""
        own = self.queries
        return {
            "recall_at_1": self.right[own].double().mean().item(),
            "map_at_r": self.precisions[own].mean().item(),
        }

    def figures(self, loss: nn.Module) -> dict[str, float]:
        """Recall at 1, and the loss of one triplet a sample, which are the same at each evaluation."""
        index = torch.arange(len(self.target))
        positive, negative = Companions(self.target)(index, Draws(0, 0, index)).unbind(1)
        given = (self.vectors, self.vectors[positive], self.vectors[negative])
        mean = float(loss(*given)) / len(index)
        return {"loss": mean, "recall_at_1": self.right[self.queries].double().mean().item()}

    def rows(self, samples: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
        """One dict per query: name, true, said (the nearest neighbour's class), score (1 right, 0 wrong)."""
        said = self.target[self.nearest.row].tolist()
        return [
            {
                "name": samples[row],
                "true": names[int(self.target[row])],
                "said": names[said[row]],
                "score": int(self.right[row]),
            }
            for row in self.queries.tolist()
        ]

    def report(self, names: Sequence[str]) -> tuple[dict[str, Any], str]:
        """Both figures of each class, and a table for the console."""
        own, of = self.queries, self.target[self.queries]
        counts = of.bincount(minlength=len(names))
        sums = [of.bincount(values[own].double(), len(names)) for values in (self.right, self.precisions)]
        recall, precision = (ratio(each, counts).tolist() for each in sums)
        columns = zip(names, recall, precision, counts.tolist(), strict=True)
        rows = [
            {"class": name, "recall_at_1": one, "map_at_r": other, "queries": count}
            for name, one, other, count in columns
        ]
        width = name_width("class", names)
        lines = [f"{'class':<{width}}  recall@1  MAP@R  queries"]
        for row in rows:
            lines.append(
                f"{row['class'][:width]:<{width}}  {row['recall_at_1']:8.3f}  {row['map_at_r']:5.3f}"
                f"  {row['queries']:7,}"
            )
        return {"classes": rows, "queries": len(own)}, "\n".join(lines)

    def mistakes(self, names: Sequence[str]) -> list[Mistake]:
        """The queries whose nearest neighbour is of another class, the most alike first."""
        from ptapp_core.measure.report import clip  # a command that draws nothing does not wait for matplotlib

        own = self.queries
        wrong = own[~self.right[own]]
        order = wrong[self.nearest.similarity[wrong].sort(descending=True, stable=True).indices].tolist()
        found = []
        for row in order:
            true, said = names[int(self.target[row])], names[int(self.target[self.nearest.row[row]])]
            caption = f"{clip(true, _NAME)} → {clip(said, _NAME)} {float(self.nearest.similarity[row]):.2f}"
            found.append(Mistake(row, caption))
        return found

    def draw(self, names: Sequence[str], folder: Path, title: str) -> None:
        """`embedding.png`."""
        from ptapp_core.measure.target_pictures import in_a_plane

        in_a_plane(self.vectors, self.target, names, out=folder / "embedding.png", title=title)

    def pooled(self, owner: Tensor, target: Tensor) -> Self:
        """The mean vectors of the windows of each clip, (N, K) float32 of length 1."""
        return type(self)(functional.normalize(mean_by(owner, self.vectors, len(target))), target)
