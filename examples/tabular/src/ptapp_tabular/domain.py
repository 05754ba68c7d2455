"""What tables bring to the commands of `ptapp_core.domain`."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch
from ptapp_core.domain import Job
from ptapp_core.in_memory import InMemory
from ptapp_core.kinds.known import kind_for
from ptapp_core.machine.runtime import Runtime
from ptapp_core.settings.own import full_name
from ptapp_tabular.config import TrainTabular
from ptapp_tabular.data import Cells, load
from ptapp_tabular.model import MISSING, UNKNOWN, About, Card, Network, rebuild


class Tabular(InMemory[TrainTabular, Cells, Network, Card]):
    """Cells: float32 (N, columns)."""

    name: ClassVar[str] = "tabular"
    settings = TrainTabular
    about: ClassVar[type[About]] = About
    load = staticmethod(load)
    rebuild = staticmethod(rebuild)

    def build(self, settings: TrainTabular, data: Cells, runtime: Runtime) -> tuple[Network, Card]:
        """The model with the statistics of the training cells, and its card."""
        part = data.part("train")
        kind = kind_for(settings.kind, data.classes, part.labels)
        columns: dict[str, Any] = {"columns": tuple(data.columns), "label_columns": tuple(data.label_columns)}
        shape = {name: getattr(settings, name) for name in ("hidden", "layers", "embedding", "dropout")}
        card = Card(name=full_name(settings.model), **kind.card(), **columns, **shape)
        model = rebuild(card)
        model.kind = kind  # with the buffers that a kind of the user's own has from the targets, and no card
        model.measure(part.inputs)
        return model, card

    def augment(self, job: Job[TrainTabular, Cells, Network, Card]) -> Callable[[Batch, Draws], Batch] | None:
        """Hides cells at random."""
        share = job.settings.hide

        def hide(batch: Batch, draws: Draws) -> Batch:
            hidden = draws.chance("hide", share, batch["input"].shape[1])
            return {**batch, "input": batch["input"].masked_fill(hidden, torch.nan)}

        return hide if share else None

    def use(self, card: Card) -> dict[str, Any]:
        """The columns, and the numbers of their categories."""
        less = {column.name: column.less for column in card.columns if column.less}
        columns = ", ".join(f"{each.name} ({'number' if each.words is None else 'category'})" for each in card.columns)
        return {
            "input": f"float32 (batch, {len(card.columns)}): {columns}; NaN is a missing cell",
            "categories": {column.name: column.words for column in card.columns if column.words is not None},
            **({"less": less, "number": "its cell less what is in `less`, in float64"} if less else {}),
            "category": f"its number in `categories`; {MISSING} is a missing one, {UNKNOWN} any other",
        }


TABULAR = Tabular()
