"""`ptapp nlp predict` and `translate`: a line of text in, a line of JSON out."""

import json
import sys
from collections.abc import Iterator

from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_core.settings.idle import refuse_idle
from ptapp_nlp.config import PredictNLP, of_translation
from ptapp_nlp.data.encode import Cut
from ptapp_nlp.data.lines import Bad, lines
from ptapp_nlp.predictor import Predictor


def predict(settings: PredictNLP, task: str | None = None) -> None:
    """Prints what the model says of each argument, each line of a file, or each line of standard input as it comes.

    Raises UserError where the run is of another task than `task`, or writes texts of its own.
    """
    model = Predictor(settings.run, settings.checkpoint, Runtime(settings.device, settings.precision))
    if model.task == "generate":
        raise UserError(f"{settings.run}: writes texts of its own; use `ptapp nlp generate`")
    if task is not None and model.task != task:
        raise UserError(f"{settings.run}: learned to {model.task}, not to {task}; use `ptapp nlp predict`")
    refuse_idle(settings, [of_translation(model.task)], {})
    if model.made:
        print("ptapp: note: this model learned from texts that the program made", file=sys.stderr)
    lengths: list[int] = []
    for texts in _texts(settings):
        answers = model.predict(texts, beam=settings.beam, length_penalty=settings.length_penalty)
        for text, answer in zip(texts, answers, strict=True):
            print(json.dumps({"text": text, **answer}, ensure_ascii=False))
        sys.stdout.flush()  # the reader of a pipe waits for it
        lengths += [answer.get("tokens", 0) for answer in answers]  # only those that are cut have it
    if note := Cut(lengths, model.max_length).line():
        print(f"ptapp: note: {note}", file=sys.stderr)


def _texts(settings: PredictNLP) -> Iterator[list[str]]:
    """Arguments at once, a file in batches, standard input line by line."""
    if settings.texts and settings.file:
        raise UserError("--file and texts on the command line are two inputs: leave one of them out")
    if settings.texts:
        yield settings.texts
    elif settings.file is not None:
        found: list[str] = []
        for _, line in lines(settings.file, "utf-8", Bad()):
            found.append(line)
            if len(found) == settings.batch_size:
                yield found
                found = []
        if found:
            yield found
    else:
        for number, raw in enumerate(sys.stdin.buffer, start=1):
            try:
                yield [raw.decode().rstrip("\r\n")]
            except UnicodeDecodeError as error:
                raise UserError(f"standard input:{number}: not UTF-8 text at byte {error.start + 1}") from error
