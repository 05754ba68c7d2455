"""Measuring a trained model on a whole split: figures, pictures, and `ptapp nlp evaluate`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from operator import eq
from pathlib import Path
from typing import Any

from torch import nn

from ptapp_core.data.members import Members
from ptapp_core.jobs import Trained, say_learned
from ptapp_core.kinds.classify import predict
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.paired import FILE as PREDICTIONS
from ptapp_core.measure.results import class_numbers, write_results
from ptapp_core.nn.losses import build_loss
from ptapp_core.runs.run import json_lines
from ptapp_nlp.card import About
from ptapp_nlp.config import EvaluateNLP, TrainNLP, of_translation
from ptapp_nlp.data.batches import Texts
from ptapp_nlp.data.encode import Cut, cut_of, encode, encode_tagged, fallback_tag
from ptapp_nlp.data.recognise import load_for
from ptapp_nlp.data.splits import Examples, Splits
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.decode import translations
from ptapp_nlp.entities import tag_figures
from ptapp_nlp.models import Translator, build
from ptapp_nlp.models.tasks import OUTPUTS, predict_tags, token_figures
from ptapp_nlp.pictures import attention_map, lengths

_WORST = 50


@dataclass(frozen=True)
class Measured:
    """A split as numbers, with what its report needs to speak of it."""

    texts: Texts
    names: Sequence[str]
    examples: Examples
    """Shortest first, so that batches in order have little padding; of a generator as they come."""
    places: list[list[int]]
    """For a tagger: where each word's first token stands, -1 if it has none."""
    cut: Cut
    """How many of the texts are longer than the model reads."""

    def tag_figures(self, model: nn.Module, classes: Sequence[str], runtime: Runtime) -> dict[str, float]:
        """Precision, recall and F1 of entities, or of words, and the accuracy of words."""
        return tag_figures(self.true, self.tags(model, classes, runtime), classes)

    def tags(self, model: nn.Module, classes: Sequence[str], runtime: Runtime) -> list[list[str]]:
        """What the model says of each word."""
        predicted = predict_tags(model, self.texts, self.places, runtime, fallback_tag(classes))
        return [[classes[number] for number in row] for row in predicted]

    @property
    def true(self) -> Sequence[Sequence[str]]:
        """The tags of each word."""
        return self.examples.target


def prepare(card: Mapping[str, Any], examples: Examples, tokens: Tokens) -> Measured:
    """A split as numbers."""
    task, limit = card["task"], card["max_length"]
    if task != "generate":
        examples = examples.take(sorted(range(len(examples)), key=lambda row: len(examples.source[row])))
    places: list[list[int]] = []
    if task == "tag":
        texts, places = encode_tagged(examples, card["classes"], tokens, limit)
        names = examples.names
    else:
        texts, names = encode(task, examples, tokens, limit, per=card["text_per"])
    return Measured(texts, names, examples, places, cut_of(task, examples, texts, tokens, limit))


def job_of(run: Path, card: Mapping[str, Any]) -> TrainNLP:
    """The settings of a run, whose texts are read as those that it was trained on."""
    job = TrainNLP.of_run(run)
    return job.model_copy(update={"text_per": card["text_per"]}) if card["task"] == "generate" else job


def evaluate(settings: EvaluateNLP) -> None:
    """Measures a run's model on a split of its own or of other data.

    The report goes to `evaluation/` in the run directory; `report/` stays what the job itself left.
    """
    runtime = Runtime(settings.device, settings.precision)
    trained = Trained.find(settings.run, "nlp", About, which=settings.checkpoint)
    card = trained.about["model"]
    job = job_of(settings.run, card)
    settings.refuse_idle(job.data, of_translation(card["task"]))
    before = Members.read(settings.run)
    data = load_for(job, before=before, other=settings.data, skip_bad=settings.skip_bad)
    tokens = Tokens.load(settings.run / "tokenizer.json", trained.about["tokenizer"])
    model = trained.load(build).to(runtime.device)
    split, examples = settings.chosen(data.part)
    print(data.about)
    for note in data.notes:
        print(f"note: {note}")
    print(f"{trained.checkpoint.name} of {settings.run}, on {split}, in {runtime.precision}")
    say_learned(settings.run, before, data.members.part(split), of_run=None if settings.data else split)
    part = prepare(card, _with_labels_of(card, data, examples), tokens)
    if cut := part.cut.line():
        print(f"note: {cut}")
    beam = (settings.beam, settings.length_penalty)
    measure(model, part, card, tokens, runtime, settings.folder(split), split, made=data.made, beam=beam)


def _with_labels_of(card: Mapping[str, Any], data: Splits, part: Examples) -> Examples:
    """The split with its labels counted as the model counts them."""
    numbers = class_numbers(data.classes, card["classes"])
    if card["task"] != "classify":
        return part
    return replace(part, target=[numbers[label] for label in part.target])


def measure(
    model: nn.Module,
    part: Measured,
    card: Mapping[str, Any],
    tokens: Tokens,
    runtime: Runtime,
    folder: Path,
    split: str,
    *,
    made: bool,
    beam: tuple[int, float] = (4, 1.0),
    say: Callable[[str], None] = print,
) -> None:
    """Figures of a split to the console, and `metrics.json` with pictures to `folder` (rank 0 of the job writes)."""
    note = " (made texts)" if made else ""
    measured = {"classify": _classes, "tag": _tags, "translate": _translation, "generate": _generation}[card["task"]]
    figures, record, files, table = measured(model, part, card, tokens, runtime, beam)
    if not runtime.is_main:
        return
    record, classes = {**record, "precision": runtime.precision, "made": made}, card["classes"]
    write_results(folder, split, figures, record, files=files, table=table, note=note, classes=classes, say=say)
    lengths(part.texts.lengths, folder / "lengths.png", title=f"{split}{note}")
    attention_map(model, part.texts, tokens, runtime, folder / "attention.png")
    say(f"report: {folder}")


Result = tuple[dict[str, float], dict[str, Any], dict[str, str], str]
"""Figures, what else goes to metrics.json, text files of the report, and a table for the console."""


def _classes(
    model: nn.Module, part: Measured, card: Mapping[str, Any], tokens: Tokens, runtime: Runtime, beam: Any
) -> Result:
    predictions = predict(model, part.texts, runtime)
    record, table = predictions.report(card["classes"])
    confidence, predicted = predictions.probabilities.max(1)
    wrong = (predicted != predictions.target).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:_WORST].tolist()
    lines = [f"{len(wrong):,} of {len(predicted):,} are wrong; the surest first: confidence, said, true, text"]
    for row in worst:
        said, true = (card["classes"][int(kind[row])] for kind in (predicted, predictions.target))
        lines.append(f"{confidence[row]:.3f}  {said}  {true}  {part.names[row]}: {part.examples.source[row]}")
    answers = json_lines(predictions.rows(part.names, card["classes"]))
    files = {"mistakes.txt": "\n".join(lines) + "\n", PREDICTIONS: answers}
    return predictions.metrics(), record, files, table


def _tags(
    model: nn.Module, part: Measured, card: Mapping[str, Any], tokens: Tokens, runtime: Runtime, beam: Any
) -> Result:
    figures = token_figures(model, OUTPUTS["tag"], part.texts, build_loss("cross-entropy"), runtime, card["pad"])
    said = part.tags(model, card["classes"], runtime)
    rows = [
        {"name": name, "true": true, "said": own, "score": sum(map(eq, true, own)) / len(true)}
        for name, true, own in zip(part.names, part.true, said, strict=True)
    ]
    return (
        {"loss": figures["loss"], **tag_figures(part.true, said, card["classes"])},
        {},
        {PREDICTIONS: json_lines(rows)},
        "",
    )


def _generation(
    model: nn.Module, part: Measured, card: Mapping[str, Any], tokens: Tokens, runtime: Runtime, beam: Any
) -> Result:
    """Perplexity is that of a token; bits per character, the end of a text being one, compare tokenizers too."""
    plain = build_loss("cross-entropy")
    figures = token_figures(model, OUTPUTS["generate"], part.texts, plain, runtime, card["pad"])
    assert part.texts.units is not None
    end = int(card["text_per"] == "line")  # a line of running text has its line break
    characters = sum(len(text) + end for text in part.examples.source)
    bits = figures["loss"] * float(part.texts.units.sum()) / characters / log(2)
    return {**figures, "bits_per_character": bits}, {}, {}, ""


def _translation(
    model: nn.Module, part: Measured, card: Mapping[str, Any], tokens: Tokens, runtime: Runtime, beam: Any
) -> Result:
    """BLEU and chrF by sacrebleu, cased and untokenised, whose signature goes to the record."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    assert isinstance(model, Translator)
    plain = build_loss("cross-entropy")
    figures = token_figures(model, OUTPUTS["translate"], part.texts, plain, runtime, card["pad"])
    own = list(range(runtime.rank, len(part.examples), runtime.world))
    texts = [part.examples.source[row] for row in own]
    said = translations(model, texts, tokens, runtime, card["max_length"], width=beam[0], penalty=beam[1])
    pairs = [pair for share in runtime.gather(list(zip(own, said, strict=True))) for pair in share]
    answers = [text for _, text in sorted(pairs)]
    bleu, chrf = BLEU(), CHRF()
    references = [list(part.examples.target)]
    scores = {
        "bleu": bleu.corpus_score(answers, references).score,
        "chrf": chrf.corpus_score(answers, references).score,
    }
    signature = f"{bleu.get_signature()}, beam {beam[0]}, length penalty {beam[1]:g}"
    rows = zip(part.examples.source, answers, part.examples.target, strict=True)
    text = "\n\n".join(f"source: {one}\nsaid:   {two}\ntrue:   {three}" for one, two, three in rows)
    pairs_of_text = zip(part.names, part.examples.target, answers, strict=True)
    lines = [
        {"name": name, "true": true, "said": own, "score": chrf.sentence_score(own, [true]).score}
        for name, true, own in pairs_of_text
    ]
    files = {"translations.txt": text + "\n", PREDICTIONS: json_lines(lines)}
    return {**figures, **scores}, {"signature": signature}, files, f"BLEU: {signature}"
