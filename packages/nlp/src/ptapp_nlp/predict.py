"""`ptapp nlp predict` and `translate`: a line of text in, a line of JSON out."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_core.settings.idle import refuse_idle
from ptapp_nlp.card import About
from ptapp_nlp.config import PredictNLP, of_translation
from ptapp_nlp.data.batches import Ragged
from ptapp_nlp.data.encode import Cut, fallback_tag, whole_lengths
from ptapp_nlp.data.lines import Bad, lines
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.decode import translations
from ptapp_nlp.evaluate import rebuild
from ptapp_nlp.models import Translator

_NOTHING: dict[str, dict[str, Any]] = {
    "classify": {"class": None, "confidence": None, "probabilities": {}},
    "tag": {"words": [], "tags": []},
    "translate": {"translation": ""},
}
"""The answer to a line without a character to read: a model would make one up."""
Answer = Callable[[Sequence[str]], list[dict[str, Any]]]


def predict(settings: PredictNLP, task: str | None = None) -> None:
    """Prints what the model says of each argument, each line of a file, or each line of standard input as it comes.

    Raises UserError where the run is of another task than `task`, or writes texts of its own.
    """
    runtime = Runtime(settings.device, settings.precision)
    trained = Trained.find(settings.run, "nlp", About, which=settings.checkpoint)
    card = trained.about["model"]
    if card["task"] == "generate":
        raise UserError(f"{settings.run}: writes texts of its own; use `ptapp nlp generate`")
    if task is not None and card["task"] != task:
        raise UserError(f"{settings.run}: learnt to {card['task']}, not to {task}; use `ptapp nlp predict`")
    refuse_idle(settings, [of_translation(card["task"])], {})
    tokens = Tokens.load(settings.run / "tokenizer.json", trained.about["tokenizer"])
    answer = _answer(settings, trained, runtime, tokens=tokens)
    if trained.about["made"]:
        print("ptapp: note: this model learnt from texts that the program made", file=sys.stderr)
    lengths: list[int] = []
    for texts in _texts(settings):
        full = [text for text in texts if text.strip()]
        answers = iter(answer(full) if full else [])
        words = [text.split() for text in texts] if card["task"] == "tag" else texts
        whole = whole_lengths(card["task"], words, tokens)
        for text, length in zip(texts, whole, strict=True):
            said = next(answers) if text.strip() else _NOTHING[card["task"]]
            cut = {"tokens": length, "read": card["max_length"]} if length > card["max_length"] else {}
            print(json.dumps({"text": text, **said, **cut}, ensure_ascii=False))
        sys.stdout.flush()  # the reader of a pipe waits for it
        lengths += whole
    if note := Cut(lengths, card["max_length"]).line():
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


def _answer(settings: PredictNLP, trained: Trained, runtime: Runtime, *, tokens: Tokens) -> Answer:
    card = trained.about["model"]
    model = rebuild(trained).to(runtime.device)

    def logits(rows: list[list[int]]) -> torch.Tensor:
        ids = runtime.to_device(Ragged(rows, tokens.pad).gather(torch.arange(len(rows))))
        with torch.no_grad(), runtime.autocast():
            return refuse_not_finite(model(ids).float().cpu())

    def classes(texts: Sequence[str]) -> list[dict[str, Any]]:
        answers = []
        for row in logits(tokens.encode(texts, card["max_length"])).softmax(1).tolist():
            shares = {name: round(share, 6) for name, share in zip(card["classes"], row, strict=True)}
            best = max(shares, key=lambda name: shares[name])
            answers.append({"class": best, "confidence": shares[best], "probabilities": shares})
        return answers

    def tags(texts: Sequence[str]) -> list[dict[str, Any]]:
        words = [text.split() for text in texts]
        coded = [tokens.encode_words(row, card["max_length"]) for row in words]
        best, fallback = logits([ids for ids, _ in coded]).argmax(2), fallback_tag(card["classes"])
        answers = []
        for row, (_, places) in enumerate(coded):
            numbers = [int(best[row, place]) if place >= 0 else fallback for place in places]
            answers.append({"words": words[row], "tags": [card["classes"][number] for number in numbers]})
        return answers

    def translation(texts: Sequence[str]) -> list[dict[str, Any]]:
        assert isinstance(model, Translator)
        width, penalty = settings.beam, settings.length_penalty
        said = translations(model, texts, tokens, runtime, card["max_length"], width=width, penalty=penalty)
        return [{"translation": text} for text in said]

    return {"classify": classes, "tag": tags, "translate": translation}[card["task"]]
