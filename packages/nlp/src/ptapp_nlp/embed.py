"""`ptapp nlp embed`: the lines of a file to vectors."""

import sys

from ptapp_core.cli.vectors import write_vectors
from ptapp_core.errors import UserError, counted
from ptapp_core.machine.runtime import Runtime
from ptapp_nlp.config import EmbedNLP
from ptapp_nlp.data.encode import Cut
from ptapp_nlp.data.lines import Bad, lines
from ptapp_nlp.data.tokens import whole_lengths
from ptapp_nlp.predictor import Predictor

_AT_ONCE = 1024  # lines that are read at a time


def embed(settings: EmbedNLP) -> None:
    """Writes a vector for each line that is not blank; how many are, and how many are cut, is said on stderr.

    Raises UserError for a run that reads pairs of texts.
    """
    model = Predictor(settings.run, settings.checkpoint, Runtime(settings.device, settings.precision))
    if model.pair_columns is not None:
        raise UserError(f"{settings.run}: reads pairs of texts, and `embed` lines of one text; take another run")
    if model.made:
        print("ptapp: note: this model learned from texts that the program made", file=sys.stderr)
    read = [(number, line) for number, line in lines(settings.file, "utf-8", Bad())]
    full = [(number, line) for number, line in read if line.strip()]
    vectors, lengths = [], list[int]()
    for start in range(0, len(full), _AT_ONCE):
        texts = [line for _, line in full[start : start + _AT_ONCE]]
        vectors.append(model.embed(texts))
        lengths += [] if model.front.reads_all else whole_lengths(model.task, texts, model.front.tokens)
    write_vectors(settings.out, vectors, [f"{settings.file}:{number}" for number, _ in full])
    if blank := len(read) - len(full):
        print(f"ptapp: note: {counted(blank, 'blank line')} left out", file=sys.stderr)
    if note := Cut(lengths, model.max_length, long=model.front.long).line():
        print(f"ptapp: note: {note}", file=sys.stderr)
