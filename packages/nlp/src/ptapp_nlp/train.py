"""`ptapp nlp train`: data, tokens, model, task and loader for the loop, and a report at its end."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.cli.ranks import relaunch
from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch, Loader
from ptapp_core.fit import fit
from ptapp_core.jobs import data_name, fit_batch_size, refuse_own_code_of, run_of, runtime_of, schedule_of
from ptapp_core.kinds.kind import Kind, kind_in
from ptapp_core.kinds.known import kind_for
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.inplace import compile_in_place, recompute_activations
from ptapp_core.machine.memory import within_memory
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.cross_validation import cross_validate
from ptapp_core.measure.report import curves
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.plan import Plan
from ptapp_core.runs.run import read_json, write_text
from ptapp_core.settings.own import short_name
from ptapp_nlp.card import card_of
from ptapp_nlp.config import SUPERVISED, TrainNLP
from ptapp_nlp.data.batches import Texts, by_length, padding
from ptapp_nlp.data.recognise import load_for
from ptapp_nlp.data.splits import Splits
from ptapp_nlp.data.tokens import Tokens, learn
from ptapp_nlp.entities import figure_of
from ptapp_nlp.evaluate import Measured, measure, prepare
from ptapp_nlp.models import build
from ptapp_nlp.models.encoder import positions_of
from ptapp_nlp.models.losses import VocabularyLoss
from ptapp_nlp.models.optimise import blocks_of, optimizer_of
from ptapp_nlp.models.tasks import OUTPUTS, TokenTask, token_figures

_LONGEST = 100_000  # the greatest --max-length


def train(settings: TrainNLP) -> None:
    """Trains a model as the settings say, or one for each fold."""
    if settings.folds is None or settings.fold is not None:
        train_once(settings)
    else:
        cross_validate(settings, _job(settings), "made", train_once)


def train_once(settings: TrainNLP) -> Path | None:
    """Leaves a run directory with record, weights and report; None where other processes did the work."""
    if relaunch(settings.nproc):
        return None
    refuse_own_code_of(settings)
    runtime = runtime_of(settings)
    data = load_for(settings)
    tokens = _tokens(settings, data, runtime)
    targets = data.targets if settings.task in SUPERVISED else None
    kind = None if targets is None else kind_for(settings.task, data.classes, targets)
    card = card_of(settings, data, tokens, kind)
    splits = {name: data.part(name) for name in ("train", "val", "test")}
    parts = {name: prepare(card, part, tokens, kind=kind, names=data.classes) for name, part in splits.items()}
    usual = TrainNLP(task=settings.task, model=settings.model, pretrained=settings.pretrained).batch_size
    settings, why_batch = fit_batch_size(settings, usual, len(parts["train"].texts))
    torch.manual_seed(settings.seed)
    with within_memory():
        model = build(card, pretrained=True, kind=kind)
    model = model.to(runtime.device)
    if settings.activation_checkpointing:
        recompute_activations(blocks_of(model))
    loader, order = _loader(settings, parts["train"], tokens, runtime)
    loss = _loss(settings, kind, targets, runtime.device)
    plan = Plan.of(settings, loader.steps_per_epoch, _figures(settings, data, kind))
    optimizer = optimizer_of(settings, model)
    schedule = schedule_of(settings, optimizer, plan)
    about = {"domain": "nlp", "data": data.about, "made": data.made, "tokenizer": tokens.digest, "model": card}
    with run_of(settings, runtime, _job(settings), data_name(settings, "made"), about, members=data.members) as run:
        kept = run.path / "tokenizer.json"
        if runtime.is_main and not kept.exists():  # a resumed job has it, unless it was killed before this line
            write_text(kept, tokens.json())
        run.say(f"data: {data.about}")
        for note in data.notes:
            run.say(f"note: {note}")
        for reason in data.skipped[:20]:
            run.say(f"left out: {reason}")
        run.say(_about_tokens(parts["train"].texts, tokens, order, settings.batch_size))
        for name, part in parts.items():
            if cut := part.cut.line(f"{name} ", positions_of(model) or _LONGEST):
                run.say(f"note: {cut}")
        run.say(f"model: {settings.model}, {sum(p.numel() for p in model.parameters()):,} parameters; {runtime}")
        run.say(plan.describe(loader.steps_per_epoch, settings.batch_size, runtime.world) + why_batch)
        run.say(f"run: {run.path}")
        if settings.compile:
            compile_in_place(model, run.say)
        task = kind.task(model, loss) if kind else TokenTask(model, loss, OUTPUTS[settings.task], tokens.pad)
        evaluate = evaluation(settings, parts["val"], loss, runtime, card)
        fit(plan, runtime, run, task, loader, optimizer, schedule, evaluate)
        if runtime.is_main:
            curves(run.path / "metrics.jsonl", run.path / "report" / "curves.png")
        split = "test" if settings.test else "val"
        measure(model, parts[split], card, tokens, runtime, run.path / "report", split, made=data.made, say=run.say)
    runtime.close()
    return run.path


def _tokens(settings: TrainNLP, data: Splits, runtime: Runtime) -> Tokens:
    """Those of the run that is resumed, or of the pretrained encoder, or learned from the training split by rank 0."""
    if settings.resume is not None and (kept := settings.resume / "tokenizer.json").exists():
        return Tokens.load(kept, str(read_json(settings.resume / "meta.json").get("tokenizer")))
    if settings.pretrained is not None:
        from ptapp_nlp.models.bert import pretrained_tokens

        return pretrained_tokens(settings.pretrained, words=settings.task == "tag")

    def learned() -> str:
        texts = (" ".join(row) if settings.task == "tag" else row for row in data.train.source)
        both = [*texts, *(data.train.target if settings.task == "translate" else ())]
        running = data.text_per == "file"
        many, least = settings.vocab, settings.least
        return learn(settings.tokenizer, both, many, lower=settings.lower, least=least, running=running).json()

    return Tokens.read(runtime.on_main(learned))


def _loader(settings: TrainNLP, part: Measured, tokens: Tokens, runtime: Runtime) -> tuple[Loader, Any]:
    order = by_length(part.texts.lengths, settings.batch_size)
    loader = Loader(
        part.texts,
        settings.batch_size,
        runtime,
        seed=settings.seed,
        accumulate=settings.accumulate,
        transform=hide_words(settings.word_dropout, tokens) if settings.word_dropout else None,
        order=order,
        names=part.names,
    )
    return loader, order


def hide_words(share: float, tokens: Tokens) -> Callable[[Batch, Draws], Batch]:
    """Replaces a share of the input tokens, but no special one, by the unknown one (Iyyer et al. 2015, "Deep unordered
    composition")."""
    special = torch.tensor(tokens.special)

    def transform(batch: Batch, draws: Draws) -> Batch:
        name = "source" if "source" in batch else "input"
        ids = batch[name]
        hidden = draws.chance("word", share, ids.shape[1]) & ~torch.isin(ids, special.to(ids.device))
        return {**batch, name: ids.masked_fill(hidden, tokens.unk)}

    return transform


def _loss(settings: TrainNLP, kind: Kind | None, targets: Tensor | None, device: torch.device) -> nn.Module:
    if kind is not None and targets is not None:
        return kind.loss_of(settings, targets, device)
    smoothing = settings.label_smoothing
    loss = CrossEntropy(label_smoothing=smoothing) if settings.task == "tag" else VocabularyLoss(smoothing)
    return loss.to(device)


def _figures(settings: TrainNLP, data: Splits, kind: Kind | None) -> tuple[str, ...]:
    """Those of an evaluation during training, the one that is watched first."""
    if kind is not None:
        return kind.figures
    return (
        (figure_of(data.classes), "loss", "accuracy") if settings.task == "tag" else ("loss", "accuracy", "perplexity")
    )


def evaluation(
    settings: TrainNLP, part: Measured, loss: nn.Module, runtime: Runtime, card: Mapping[str, Any]
) -> Evaluate:
    """What measures the model on a split while it learns, by the loss that it learns from."""

    def supervised(model: nn.Module) -> Mapping[str, float]:
        return kind_in(model).evaluate(model, part.texts, runtime, loss)

    def of_tokens(model: nn.Module) -> Mapping[str, float]:
        figures = token_figures(model, OUTPUTS[settings.task], part.texts, loss, runtime, card["pad"])
        if settings.task == "tag":
            return {"loss": figures["loss"], **part.tag_figures(model, card["classes"], runtime)}
        return figures

    return supervised if settings.task in SUPERVISED else of_tokens


def _about_tokens(texts: Texts, tokens: Tokens, order: Any, batch_size: int) -> str:
    """The vocabulary, the lengths and what sorting by length saves."""
    generator = torch.Generator().manual_seed(0)
    ours = padding(texts, order(generator), batch_size)
    mixed = padding(texts, torch.randperm(len(texts), generator=generator), batch_size)
    mean, longest = texts.lengths.double().mean(), int(texts.lengths.max())
    return (
        f"tokens: {tokens.size:,} known; {mean:.1f} a sample, at most {longest:,}; "
        f"{ours:.1%} of a batch is padding (unsorted {mixed:.1%})"
    )


def _job(settings: TrainNLP) -> str:
    return f"nlp-{settings.task}-{short_name(settings.model)}"
