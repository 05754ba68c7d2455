"""Tables: a header, and a row for each sample, whose cells are numbers, categories or missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch

from ptapp_core.data.members import Members
from ptapp_core.data.rows import Splits
from ptapp_core.data.table import Table
from ptapp_core.data.table_rows import TableRows, is_missing, places_of, read_named
from ptapp_core.errors import UserError
from ptapp_core.jobs import division_of
from ptapp_core.kinds.known import wanted_of
from ptapp_tabular.config import TrainTabular
from ptapp_tabular.model import FIRST, Card, Column


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


def load_for(
    job: TrainTabular, *, card: Card | None, before: Members | None, other: str | None, skip_bad: bool
) -> Cells:
    """The table of a job, or of a run in the columns of its card; or `other` data, which is only measured."""
    source, learns, skip_bad = other or job.data, other is None, skip_bad or (job.skip_bad and other is None)
    where = Path(source).expanduser() if source else Path("made")
    table = read_named(where, skip_bad=skip_bad) if source else make(job.task)
    wanted = wanted_of(job, card.label_columns if card else ())
    rows = TableRows(where, table, wanted, drop=job.drop if learns else (), group=job.group_column if learns else None)
    columns: Sequence[Column] = card.columns if card else _columns(rows, job.category)
    divided, cells = rows.divide(
        [column.name for column in columns],
        division_of(job, before) if learns else None,
        check=lambda cells: encode(columns, cells),
        skip_bad=skip_bad,
    )
    if card is None:
        training = zip(*(cells[row] for row in divided.rows("train")), strict=True)
        columns = [_with_words(column, own) for column, own in zip(columns, training, strict=True)]
    inputs = torch.tensor([encode(columns, row) for row in cells], dtype=torch.float32)
    return Cells(divided, inputs, source is None, columns=columns, label_columns=rows.target.titles)


def _columns(rows: TableRows, category: Sequence[str]) -> list[Column]:
    """The inputs, those of numbers first; of the others the categories are not known yet."""
    places_of(rows.inputs, category, f"{rows.where}:1")
    if not rows.inputs:
        raise UserError(f"{rows.where}:1: there is no column beside the target {rows.target.titles[0]}")
    numbers = [name for name in rows.inputs if name not in category and rows.holds_numbers(name)]
    columns = [Column(name=name, words=None if name in numbers else {}) for name in rows.inputs]
    return sorted(columns, key=lambda column: column.words is not None)


def _with_words(column: Column, cells: Sequence[str]) -> Column:
    """The column with the categories of the training cells, if it has any."""
    words = sorted({cell for cell in cells if not is_missing(cell)})
    numbered = {word: number for number, word in enumerate(words, start=FIRST)}
    return column if column.words is None else Column(name=column.name, words=numbered)
