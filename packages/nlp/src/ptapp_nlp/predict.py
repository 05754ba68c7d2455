"""`ptapp nlp predict` and `translate`: a line of text, or a pair of texts, in, a line of JSON out."""

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice

from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_core.settings.idle import refuse_idle
from ptapp_nlp.config import PredictNLP, of_translation
from ptapp_nlp.data.encode import Cut
from ptapp_nlp.data.lines import Bad, lines
from ptapp_nlp.data.pairs import Text
from ptapp_nlp.data.tables import read_pairs
from ptapp_nlp.predictor import Predictor


def predict(settings: PredictNLP, task: str | None = None) -> None:
    """Prints what the model says of each argument, each line of a file, or each line of standard input as it comes; of
    a run of pairs of two arguments, each row of a table, or each line with a tab between its texts.

    Raises UserError where the run is of another task than `task`, or writes texts of its own.
    """
    model = Predictor(settings.run, settings.checkpoint, Runtime(settings.device, settings.precision))
    if model.task == "generate" and not model.front.chats:
        raise UserError(f"{settings.run}: writes texts of its own; use `ptapp nlp generate`")
    if task is not None and model.task != task:
        raise UserError(f"{settings.run}: learned to {model.task}, not to {task}; use `ptapp nlp predict`")
    refuse_idle(settings, [of_translation(model.task)], {})
    if model.made:
        print("ptapp: note: this model learned from texts that the program made", file=sys.stderr)
    lengths: list[int] = []
    samples = _texts(settings) if model.pair_columns is None else _pairs(settings, model.pair_columns)
    for texts in samples:
        answers = model.predict(texts, beam=settings.beam, length_penalty=settings.length_penalty)
        for text, answer in zip(texts, answers, strict=True):
            own = {"text": text} if isinstance(text, str) else dict(zip(("text", "pair"), text, strict=True))
            print(json.dumps({**own, **answer}, ensure_ascii=False))
        sys.stdout.flush()  # the reader of a pipe waits for it
        lengths += [answer.get("tokens", 0) for answer in answers]  # only those that are cut have it
    if note := Cut(lengths, model.max_length, pairs=model.pair_columns is not None, long=model.front.long).line():
        print(f"ptapp: note: {note}", file=sys.stderr)


def _texts(settings: PredictNLP) -> Iterator[Sequence[Text]]:
    """Arguments at once, a file in batches, standard input line by line."""
    _refuse_two_inputs(settings)
    if settings.texts:
        yield settings.texts
    elif settings.file is not None:
        yield from _in_batches((line for _, line in lines(settings.file, "utf-8", Bad())), settings.batch_size)
    else:
        yield from ([line] for _, line in _typed())


def _pairs(settings: PredictNLP, names: tuple[str, str]) -> Iterator[Sequence[Text]]:
    """Two arguments, a table in batches, standard input line by line.

    Raises UserError for another number of arguments, or of texts in a line.
    """
    _refuse_two_inputs(settings)
    if settings.texts:
        if len(settings.texts) != 2:
            raise UserError(f"the run reads pairs: give two texts ({' and '.join(names)}), or a table with --file")
        yield [(settings.texts[0], settings.texts[1])]
    elif settings.file is not None:
        yield from _in_batches(read_pairs(settings.file, names), settings.batch_size)
    else:
        for number, line in _typed():
            parts = line.split("\t")
            if len(parts) != 2 and line.strip():
                raise UserError(
                    f"standard input:{number}: the run reads pairs: give two texts with one tab between them"
                )
            yield [(parts[0], parts[-1])]


def _in_batches(samples: Iterator[Text], size: int) -> Iterator[list[Text]]:
    while found := list(islice(samples, size)):
        yield found


def _refuse_two_inputs(settings: PredictNLP) -> None:
    if settings.texts and settings.file:
        raise UserError("--file and texts on the command line are two inputs: leave one of them out")


def _typed() -> Iterator[tuple[int, str]]:
    """The lines of standard input as they come, numbered from 1; raises UserError for one that is no UTF-8."""
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        try:
            yield number, raw.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(f"standard input:{number}: not UTF-8 text at byte {error.start + 1}") from error
