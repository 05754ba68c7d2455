"""A trained model of tables, for `ptapp tabular predict` and `ptapp.load`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from ptapp_core.cli.answers import answers_of
from ptapp_core.data.table_rows import cells_in, cells_of, tell_of_unseen
from ptapp_core.errors import placed
from ptapp_core.in_memory import Answering
from ptapp_core.jobs import Which
from ptapp_core.machine.runtime import Runtime
from ptapp_tabular.config import PredictTabular
from ptapp_tabular.data import encode
from ptapp_tabular.domain import TABULAR, Tabular
from ptapp_tabular.model import Card, Network


class Predictor(Answering[Network, Card]):
    """The model of a run of `ptapp tabular train`, with all that it takes to answer."""

    domain: ClassVar[Tabular] = TABULAR

    def __init__(self, run: Path, checkpoint: Which, runtime: Runtime) -> None:
        super().__init__(run, checkpoint, runtime)
        self.columns = self.card.columns
        self.names = [column.name for column in self.columns]

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """An answer for each row, cells by the names of their columns, None for a missing one; others are not read.

        classify: `class`, `confidence`, `probabilities`; multilabel: `labels`, `probabilities`; regress: `values`.
        Raises UserError, naming row and column, for one that is absent or holds no number where it should.
        """
        return [self.kind.answer(row) for row in self.answers(cells_of(rows, self.names))]

    def answers(self, rows: Iterable[tuple[str, Sequence[str]]]) -> list[list[float]]:
        """What the kind gives for rows, which are where they stand and the cells of `names`: K numbers each."""
        coded = []
        for at, cells in rows:
            with placed(at):
                coded.append(encode(self.columns, cells))
        return self.values(torch.tensor(coded, dtype=torch.float32).view(-1, len(self.columns)))


def predict(settings: PredictTabular) -> None:
    """Prints a line a row of the files; raises UserError, naming file, row and column, for what cannot be read."""
    model = Predictor(settings.run, settings.checkpoint, Runtime(settings.device, settings.precision))
    rows = [row for file in settings.files for row in cells_in(file, model.names)]
    answer = answers_of(settings, model.kind, [at for at, _ in rows])
    for (at, _), values in zip(rows, model.answers(rows), strict=True):
        answer(at, values)
    tell_of_unseen([cells for _, cells in rows], {column.name: column.words for column in model.columns})
