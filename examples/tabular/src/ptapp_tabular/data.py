"""Tables: a header, and a row for each sample, whose cells are numbers, categories or missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from ptapp_core.data.members import Members
from ptapp_core.data.rows import Splits
from ptapp_core.data.table import Table
from ptapp_core.data.table_rows import TableRows, offset_of, read_named, tell_of_unseen
from ptapp_core.data.targets import is_missing
from ptapp_core.jobs import Trained, division_of
from ptapp_core.kinds.known import wanted_of
from ptapp_core.machine.runtime import Runtime
from ptapp_tabular.config import TrainTabular
from ptapp_tabular.model import FIRST, About, Column


@dataclass(frozen=True)
class Cells(Splits):
    """The table of a job; the inputs are float32 (N, columns), those of numbers first."""

    columns: Sequence[Column]
    label_columns: list[str]


def encode(columns: Sequence[Column], cells: Sequence[str]) -> list[float]:
    """What the model takes of a row; raises UserError, naming the column, where a cell is bad."""
    return [column.number(cell) for column, cell in zip(columns, cells, strict=True)]


def make(task: str) -> Table:
    """600 fruits: their size, age and colour, and as the target of a task what follows from these."""
    draw, rows = Random(0), []
    for line in range(2, 602):
        size, days, colour = draw.gauss(10, 3), 10 * draw.random(), ("green", "red", "yellow")[int(3 * draw.random())]
        sweet = days + 2 * (colour == "red") + draw.gauss(0, 0.5)
        labels = [name for name, is_there in (("large", size > 10), ("sweet", sweet > 5)) if is_there]
        target = "unripe" if sweet < 4 else "ripe" if sweet < 8 else "spoilt"
        target = {"multilabel": "|".join(labels), "regress": f"{2 * size + sweet:.2f}"}.get(task, target)
        rows.append((line, [f"{size:.2f}" if draw.random() > 0.05 else "", f"{days:.2f}", colour, target]))
    return Table(["size", "days", "colour", "target"], rows, [])


def load(
    settings: TrainTabular,
    runtime: Runtime,
    *,
    trained: Trained[About] | None = None,
    other: str | None = None,
    skip_bad: bool = False,
) -> Cells:
    """The table of a job, or of a run in the columns of its card; or `other` data, which is only measured."""
    card, before = (trained.about.model, Members.read(trained.run)) if trained else (None, None)
    source, learns, skip_bad = other or settings.data, other is None, skip_bad or (settings.skip_bad and other is None)
    where = Path(source).expanduser() if source else Path("made")
    table = read_named(where, skip_bad=skip_bad) if source else make(settings.task)
    wanted = wanted_of(settings, card.label_columns if card else ())
    apart: dict[str, Any] = {"drop": settings.drop, "group": settings.group_column} if learns else {}
    named = [column.name for column in card.columns] if card else settings.category
    rows = TableRows(where, table, wanted, **apart, inputs=named)
    found: list[tuple[str, Any]] = [*((name, None) for name in rows.numbers), *((name, {}) for name in rows.categories)]
    columns: Sequence[Column] = card.columns if card else [Column(name=name, words=words) for name, words in found]
    divided, cells = rows.divide(
        [column.name for column in columns],
        division_of(settings, before) if learns else None,
        check=lambda cells: encode(columns, cells),
        skip_bad=skip_bad,
    )
    if card is None:
        training = zip(*(cells[row] for row in divided.rows("train")), strict=True)
        columns = [_measured(column, own) for column, own in zip(columns, training, strict=True)]
    tell_of_unseen(cells if card and runtime.is_main else [], {column.name: column.words for column in columns})
    inputs = torch.tensor([encode(columns, row) for row in cells], dtype=torch.float32)
    return Cells(divided, inputs, source is None, columns=columns, label_columns=rows.target.titles)


def _measured(column: Column, cells: Sequence[str]) -> Column:
    """The column with what its training cells say: the categories, or what to subtract from its numbers."""
    if column.words is None:
        return column.model_copy(update={"less": less}) if (less := offset_of(cells)) else column
    words = sorted({cell for cell in cells if not is_missing(cell)})
    return Column(name=column.name, words={word: number for number, word in enumerate(words, start=FIRST)})
