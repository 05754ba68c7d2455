"""What a training job of texts is made of: tokens, hidden words, and an evaluation."""

from collections.abc import Callable, Mapping
from math import log

import torch
from torch import nn

from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch
from ptapp_core.errors import UserError
from ptapp_core.kinds.kind import VectorKind, kind_in
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.memory import free_memory
from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.log import EVALUATED, records
from ptapp_core.runs.run import read_json
from ptapp_core.runs.typed import checked
from ptapp_core.settings.embed import EMBED
from ptapp_nlp.card import About, Card
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.data.batches import Ragged, Texts, by_length, padding
from ptapp_nlp.data.pairs import texts_of
from ptapp_nlp.data.splits import Splits
from ptapp_nlp.data.stream import Stream
from ptapp_nlp.data.tokens import Tokens, learn, learn_words
from ptapp_nlp.evaluate import BITS, Measured, predicted, tag_loss
from ptapp_nlp.models.tasks import OUTPUTS, token_figures
from ptapp_nlp.recipes import CAUSAL, SEQ2SEQ, SPELLED, TOKENS, WRITERS

_BYTES = 13  # that each weight of a layer's attention takes until the gradient has passed


def tokens_of(settings: TrainNLP, data: Splits, runtime: Runtime) -> Tokens:
    """Those of the run that is resumed, or of the pretrained encoder, or learned from the training split by rank 0."""
    if settings.resume is not None and (kept := settings.resume / "tokenizer.json").exists():
        meta = settings.resume / "meta.json"
        before = read_json(meta)
        marks = checked(meta, before, About).model.marks if settings.model in WRITERS else None
        return Tokens.load(kept, str(before.get("tokenizer")), marks=marks)
    if data.text_per in ("answer", "chat") and settings.model != CAUSAL:
        what = "chats" if data.text_per == "chat" else "prompts and answers"
        raise UserError(f"{settings.data}: {what} are for --model causal, not for {settings.model}")
    if settings.model == CAUSAL:
        return _of_decoder(settings, data)
    if settings.model == SEQ2SEQ:
        from ptapp_nlp.models.seq2seq import describe, seq2seq_tokens

        assert settings.pretrained is not None
        describe(settings.pretrained)  # which says what is no encoder-decoder, whatever its tokenizer lacks
        return seq2seq_tokens(settings.pretrained)
    if settings.pretrained is not None:
        from ptapp_nlp.models.bert import pretrained_tokens

        return pretrained_tokens(settings.pretrained, words=settings.task == "tag")

    def learned() -> str:
        if settings.model == SPELLED:
            return learn_words(data.train.source, settings.vocab, lower=settings.lower, least=settings.least).json()
        joined = (" ".join(row) if settings.task == "tag" else row for row in data.train.source)
        both = [text for row in joined for text in texts_of(row)]
        both += data.train.target if settings.task == "translate" else ()
        running = data.text_per == "file"
        many, least = settings.vocab, settings.least
        tokens = learn(settings.tokenizer, both, many, lower=settings.lower, least=least, running=running)
        if data.pair_columns is not None:
            tokens.mark_pairs()
        return tokens.json()

    return Tokens.read(runtime.on_main(learned))


def _of_decoder(settings: TrainNLP, data: Splits) -> Tokens:
    from ptapp_nlp.models.causal import causal_tokens, describe

    assert settings.pretrained is not None
    describe(settings.pretrained)  # which says what is no decoder, whatever its tokenizer lacks
    tokens = causal_tokens(settings.pretrained, writes=settings.task == "generate")
    if data.pair_columns is not None:
        tokens.mark_pairs()
    if data.text_per == "file" and tokens.decode(tokens.encode(["a\nb"], 9)) != ["a\nb"]:
        raise UserError(f"--pretrained {settings.pretrained}: its tokenizer has no line breaks; give --text-per line")
    return tokens


def refuse_large_attention(settings: TrainNLP, card: Card, longest: int, *, runtime: Runtime) -> None:
    """Raises UserError where the attention of a batch with a text of so many tokens is larger than the free memory.

    Where weights are dropped torch's attention on a processor keeps all of them, which grow with the square of the
    length; `benchmarks/text_length.py` measures that. No other kernel does.
    """
    quadratic = card.name == "transformer" and card.task != "translate" and settings.dropout > 0
    if not quadratic or runtime.device.type != "cpu":
        return
    texts = -(-settings.batch_size // (settings.accumulate * runtime.world)) * (3 if settings.kind == EMBED else 1)
    layers = 1 if settings.activation_checkpointing else card.options.layers
    size = _BYTES * layers * card.options.heads * texts * longest**2
    if size > (free := free_memory()):
        raise UserError(
            f"--batch-size {settings.batch_size}: with a text of {longest:,} tokens the attention of a transformer "
            f"takes about {size / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB of memory are free; give a smaller "
            "--max-length, a smaller --batch-size or a larger --accumulate, or --dropout 0, or take --model lstm"
        )


def hide_rare_words(share: float, tokens: Tokens, texts: Texts) -> Callable[[Batch, Draws], Batch]:
    """Replaces a share of the words that are seen once in the `texts` to learn from by the unknown word, so that its
    number is learned (Lample et al. 2016), and less of others: s / (s + (1 - s) n) of a word that is seen n times
    (Kiperwasser & Goldberg 2016). Case and letters stay."""
    column = texts.columns["input"]
    assert isinstance(column, Ragged)
    seen = torch.bincount(column.firsts(), minlength=tokens.size)
    chance = share / (share + (1 - share) * seen.clamp(min=1).double())
    chance[tokens.special] = 0.0
    chance = chance.float()

    def transform(batch: Batch, draws: Draws) -> Batch:
        words = batch["input"]
        numbers = words[:, :, 0]
        hidden = draws.uniform("word", numbers.shape[1]) < chance.to(words.device)[numbers]
        return {**batch, "input": torch.cat([numbers.masked_fill(hidden, tokens.unk)[:, :, None], words[:, :, 1:]], 2)}

    return transform


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


def logs_bits(settings: TrainNLP) -> bool:
    """Whether a job logs bits per character: one that writes, unless its run was begun without them."""
    if settings.task != "generate":
        return False
    try:
        evaluated = [] if settings.resume is None else records(settings.resume / "metrics.jsonl", only=f'"{EVALUATED}')
        return f"{EVALUATED}{BITS}" in next(iter(evaluated), (f"{EVALUATED}{BITS}",))
    except OSError:  # it has no record yet
        return True


def evaluation(card: Card, part: Measured, loss: nn.Module, *, runtime: Runtime, bits: bool = False) -> Evaluate:
    """What measures the model on a split while it learns, by the loss that it learns from; `bits` per character too."""

    def supervised(model: nn.Module) -> Mapping[str, float]:
        kind = kind_in(model)
        assert isinstance(kind, VectorKind), "a text has K numbers"
        return kind.learned(predicted(model, part, runtime)).figures(loss)

    def of_tokens(model: nn.Module) -> Mapping[str, float]:
        if card.task == "tag":
            own = tag_loss(model, part, card, loss=loss, runtime=runtime)
            return {"loss": own, **part.tag_figures(model, card.classes, runtime)}
        found = token_figures(
            model, OUTPUTS[card.task], part.whole, loss=loss, runtime=runtime, pad=card.pad, batch_size=card.at_once
        )
        return {**found, **({BITS: part.character_bits(log(found["perplexity"]))} if bits else {})}

    return of_tokens if card.task in TOKENS else supervised


def about_stream(stream: Stream, tokens: Tokens, characters: int) -> str:
    """The vocabulary, how many characters a token has, and the windows of an epoch."""
    count = len(stream.tokens) - 1
    return (
        f"tokens: {tokens.size:,} known; {count:,} in train, of {characters / count:.2f} characters; an epoch has "
        f"{len(stream):,} windows of {stream.length:,}, which are cut elsewhere in the next one"
    )


def about_tokens(texts: Texts, tokens: Tokens, batch_size: int) -> str:
    """The vocabulary, the lengths and what sorting by length saves."""
    generator, order = torch.Generator().manual_seed(0), by_length(texts.lengths, batch_size)
    ours = padding(texts, order(generator), batch_size)
    mixed = padding(texts, torch.randperm(len(texts), generator=generator), batch_size)
    mean, longest = texts.lengths.double().mean(), int(texts.lengths.max())
    return (
        f"tokens: {tokens.size:,} known; {mean:.1f} a sample, at most {longest:,}; "
        f"{ours:.1%} of a batch is padding (unsorted {mixed:.1%})"
    )
