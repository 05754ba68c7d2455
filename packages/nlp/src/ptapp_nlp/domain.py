"""What texts bring to the commands of `ptapp_core.domain`."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch, Loader
from ptapp_core.data.members import Members
from ptapp_core.domain import Domain, Job, Place
from ptapp_core.errors import UserError
from ptapp_core.export import Example
from ptapp_core.jobs import Trained
from ptapp_core.kinds.kind import kind_in
from ptapp_core.kinds.known import kind_for
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.inplace import recompute_activations
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.runs.checkpoint import has_checkpoint
from ptapp_core.runs.run import Run, write_text
from ptapp_core.settings.idle import Only
from ptapp_core.task import Task
from ptapp_nlp.card import About, Card, card_of
from ptapp_nlp.config import TrainNLP, of_translation
from ptapp_nlp.data.batches import Texts, by_length
from ptapp_nlp.data.recognise import load_for
from ptapp_nlp.data.splits import Splits
from ptapp_nlp.data.stream import Stream
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.entities import figure_of
from ptapp_nlp.evaluate import BITS, Measured, measure, prepare, said_of_units
from ptapp_nlp.export import example_of
from ptapp_nlp.models import SentenceTagger, build
from ptapp_nlp.models.encoder import positions_of
from ptapp_nlp.models.losses import VocabularyLoss
from ptapp_nlp.models.optimise import blocks_of, optimizer_of
from ptapp_nlp.models.tasks import OUTPUTS, PathTask, TokenTask
from ptapp_nlp.models.weights import begin_with
from ptapp_nlp.recipes import SUPERVISED, TOKENS
from ptapp_nlp.train import (
    about_stream,
    about_tokens,
    evaluation,
    hide_rare_words,
    hide_words,
    logs_bits,
    refuse_large_attention,
    tokens_of,
)

TextJob = Job[TrainNLP, Splits, nn.Module, Card]
_LONGEST = 100_000  # the greatest --max-length


class Text(Domain[TrainNLP, Splits, nn.Module, Card]):
    """Texts: token numbers, int64 (N, L)."""

    name: ClassVar[str] = "nlp"
    settings = TrainNLP
    about: ClassVar[type[About]] = About
    built_in: ClassVar[str] = "made"
    made: ClassVar[str] = "made"
    rebuild = staticmethod(build)

    def load(
        self,
        settings: TrainNLP,
        runtime: Runtime,
        *,
        trained: Trained[About] | None = None,
        other: str | None = None,
        skip_bad: bool = False,
    ) -> Splits:
        """The texts of a job with its tokens; of a trained run, as those that it was trained on are read."""
        if trained is None:
            data = load_for(settings)
            return replace(data, tokens=tokens_of(settings, data, runtime))
        data = load_for(settings, before=Members.read(trained.run), other=other, skip_bad=skip_bad)
        _refuse_other_texts(trained, data)
        return replace(data, tokens=_tokens_of(trained))

    def build(self, settings: TrainNLP, data: Splits, runtime: Runtime) -> tuple[nn.Module, Card]:
        """The model with the weights of its encoder, if it has one, and its card."""
        supervised = settings.task not in TOKENS
        kind = kind_for(settings.kind, data.classes, data.targets, embedding=settings.embedding) if supervised else None
        card = card_of(settings, data, _tokens(data), kind=kind)
        torch.manual_seed(settings.seed)  # what learned the tokens drew numbers
        model = build(card, pretrained=True, kind=kind)
        if settings.weights is not None and not has_checkpoint(settings.resume):
            begin_with(model, settings.weights, card=card, tokens=_tokens(data))
        if settings.activation_checkpointing:
            recompute_activations(blocks_of(model))
        return model, card

    def prepare(self, data: Splits, split: str, model: nn.Module, *, card: Card) -> Measured:
        """The texts of a split as numbers."""
        kind = kind_in(model) if card.task in SUPERVISED else None
        return prepare(card, data.part(split), _tokens(data), kind=kind, names=data.classes)

    def usual_batch(self, settings: TrainNLP) -> int:
        """That of the task and model."""
        task = settings.task if settings.task in TOKENS else "classify"
        return TrainNLP(task=task, model=settings.model, pretrained=settings.pretrained).batch_size

    def blocks(self, model: nn.Module) -> Iterator[nn.Module]:
        """The layers of a transformer."""
        return blocks_of(model)

    def optimizer(self, job: TextJob) -> Optimizer:
        """That of the settings, whose rates may fall with the depth of a layer."""
        return optimizer_of(job.settings, job.model)

    def loader(self, job: TextJob) -> Loader:
        """The training texts, those of like lengths together."""
        settings, part = job.settings, job.parts["train"]
        stream = part.texts if isinstance(part.texts, Stream) else None
        longest = job.card.max_length if stream else int(part.texts.lengths.max())
        refuse_large_attention(settings, job.card, longest, runtime=job.runtime)
        return Loader(
            part.texts,
            settings.batch_size,
            job.runtime,
            seed=settings.seed,
            accumulate=settings.accumulate,
            transform=_changed(job),
            order=stream.order if stream else by_length(part.texts.lengths, settings.batch_size),
            companions=None if settings.task in TOKENS else kind_in(job.model).companions(part.texts.targets),
            names=part.names,
        )

    def loss(self, job: TextJob) -> nn.Module:
        """That of the kind of target, or of tokens."""
        settings, device = job.settings, job.runtime.device
        if settings.task not in TOKENS:
            return kind_in(job.model).loss_of(settings, job.data.targets, device)
        if isinstance(job.model, SentenceTagger):
            return job.model.crf
        smoothing = settings.label_smoothing
        loss = CrossEntropy(label_smoothing=smoothing) if settings.task == "tag" else VocabularyLoss(smoothing)
        return loss.to(device)

    def task(self, job: TextJob, loss: nn.Module) -> Task:
        """The model with its loss, of texts or of tokens."""
        if job.settings.task not in TOKENS:
            return super().task(job, loss)
        if job.card.spelled:
            return PathTask(job.model)
        return TokenTask(job.model, loss, OUTPUTS[job.settings.task], pad=job.card.pad)

    def figures(self, job: TextJob) -> tuple[str, ...]:
        """Those of the kind of target, or of tokens."""
        if job.settings.task not in TOKENS:
            return super().figures(job)
        tags = (figure_of(job.data.classes), "loss", "accuracy")
        bits = (BITS,) if logs_bits(job.settings) else ()
        return tags if job.settings.task == "tag" else ("loss", "accuracy", "perplexity", *bits)

    def evaluation(self, job: TextJob, loss: nn.Module) -> Evaluate:
        """The figures of the validation texts."""
        return evaluation(job.card, job.parts["val"], loss, runtime=job.runtime, bits=logs_bits(job.settings))

    def lines(self, job: TextJob, loader: Loader) -> list[str]:
        """The tokens, the texts that are cut, and the model."""
        tokens, most = _tokens(job.data), positions_of(job.model) or _LONGEST
        texts, source = job.parts["train"].texts, job.parts["train"].examples.source
        weights = [f"weights: --weights {job.settings.weights}"] if job.settings.weights else []
        if isinstance(texts, Stream):
            units = [about_stream(texts, tokens, sum(map(len, source))), said_of_units()]
            return [*units, *super().lines(job, loader), *weights]
        about = about_tokens(texts, tokens, job.settings.batch_size)
        whole = () if job.card.task != "tag" else ("val", "test")  # whose long sentences are in windows
        cut = (part.cut.line(f"{name} ", most) for name, part in job.parts.items() if name not in whole)
        return [about, *(f"note: {line}" for line in cut if line), *super().lines(job, loader), *weights]

    def begin(self, run: Run, data: Splits) -> None:
        """Leaves the tokens; a resumed job has them, unless it was killed before this."""
        kept = run.path / "tokenizer.json"
        if not kept.exists():
            write_text(kept, _tokens(data).json())

    def extra(self, data: Splits) -> dict[str, Any]:
        """The digest of the tokens."""
        return {"tokenizer": _tokens(data).digest}

    def idle(self, card: Card) -> tuple[Only, ...]:
        """The options of a beam, for a run that does not translate."""
        return (of_translation(card.task),)

    def of_run(self, run: Path, card: Card) -> TrainNLP:
        """The settings of a run, whose texts are read as those that it was trained on."""
        job = TrainNLP.of_run(run)
        return job.model_copy(update={"text_per": card.text_per}) if card.task == "generate" else job

    def notes(self, part: Measured) -> list[str]:
        """How many of the texts are cut; a tagger is measured on all of them, in windows."""
        return [f"note: {cut}"] if part.card.task != "tag" and (cut := part.cut.line()) else []

    def report(
        self,
        model: nn.Module,
        part: Measured,
        card: Card,
        *,
        place: Place,
        say: Callable[[str], None] = print,
        **options: Any,
    ) -> None:
        """Figures and pictures of the task; `options`: the `beam` of a translation."""
        measure(model, part, card, place=place, say=say, **options)

    def example(self, trained: Trained[About]) -> Example:
        """Token numbers to what the task gives."""
        job = self.of_run(trained.run, trained.about.model)
        return example_of(trained, trained.load(build), self.load(job, Runtime("cpu"), trained=trained))


def _refuse_other_texts(trained: Trained[About], data: Splits) -> None:
    """Raises UserError where a run that reads pairs is given single texts, or the other way round."""
    own, given = trained.about.model.pair_columns, data.pair_columns
    if (own is None) != (given is None):
        reads, has = ("pairs of texts", "single texts") if given is None else ("single texts", "pairs of texts")
        raise UserError(f"{trained.run}: reads {reads}, and the data has {has} ({data.about}); give data of its form")


def _tokens_of(trained: Trained[About]) -> Tokens:
    about = trained.about
    return Tokens.load(trained.run / "tokenizer.json", about.tokenizer, marks=about.model.marks)


def _changed(job: TextJob) -> Callable[[Batch, Draws], Batch] | None:
    """What is done to a batch of training texts: one of the windows of a long one is drawn, and words are hidden."""
    windows = job.parts["train"].windows
    drawn = windows.drawn() if windows is not None else None
    hidden = _hidden_words(job) if job.settings.word_dropout else None
    if drawn is None or hidden is None:
        return drawn or hidden
    return lambda batch, draws: hidden(drawn(batch, draws), draws)


def _hidden_words(job: TextJob) -> Callable[[Batch, Draws], Batch]:
    """What hides words while a model learns: of a model that reads letters, those that are rare."""
    share, tokens = job.settings.word_dropout, _tokens(job.data)
    if job.card.spelled:
        texts = job.parts["train"].texts
        assert isinstance(texts, Texts)
        return hide_rare_words(share, tokens, texts)
    return hide_words(share, tokens)


def _tokens(data: Splits) -> Tokens:
    assert data.tokens is not None, "`load` has put them there"
    return data.tokens


TEXT = Text()
