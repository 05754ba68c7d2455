"""What an export of a text model is: from token numbers, with its tokenizer beside it."""

from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.export import Example, Inputs
from ptapp_core.jobs import Trained
from ptapp_core.kinds.kind import Answers, kind_in
from ptapp_core.measure.judge import OfClasses
from ptapp_nlp.card import About, Card
from ptapp_nlp.data.encode import IGNORED, fallback_tag
from ptapp_nlp.data.spelling import LETTERS, WIDTH
from ptapp_nlp.data.splits import Splits
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.entities import ENDS, Scheme
from ptapp_nlp.evaluate import Measured, prepare
from ptapp_nlp.models.encoder import positions_of
from ptapp_nlp.models.tasks import OUTPUTS
from ptapp_nlp.recipes import CAUSAL, SUPERVISED
from ptapp_nlp.search import LONGER, MORE

_Free = dict[str, tuple[str, ...]]
"""Inputs by name, with the names of their free dimensions."""
_SAMPLES = 16
_WORDS = (
    "give words as the training data has them; `predict` splits a text at blanks, and punctuation, n't and 's off its "
    "words, but not within addresses, handles and numbers; a text of more than `max_length` is read in windows that "
    "overlap by a quarter, and each word takes its tag from the window in which it stands further inside; "
)
_BIO = "; `classes` are BIO, in which an I that follows an O or another type after a cut begins an entity"
_SPELLED = (
    f"{_WORDS}a word is its number in tokenizer.json; its case: 1 small letters alone, 2 capitals alone, 3 a capital "
    "and small ones, 4 another mix, 5 digits without a letter, 6 digits and letters, 7 neither; and its bytes of UTF-8 "
    "in NFC, each plus 1, filled up with 0 to `letters` (of a longer word the first half of these and the last half); "
    "its tag is that of the greatest output, its probability; `max_length` counts words"
)
_PAIR = (
    "give tokenizer.json both texts of `pair` at once, in that order, such as `encode(first, second)`: it puts its "
    "marks between and around them, and cuts the longer text until all are `max_length` tokens"
)
_LONG = {
    "head-tail": "tokenizer.json does not cut: of a text with more than `max_length` numbers give the marks around it "
    "and between them its first numbers, a quarter of what is left of `max_length`, and its last ones, the rest",
    "windows": "tokenizer.json does not cut: give a text with more than `max_length` numbers as the fewest windows of "
    "as many, each with the marks around it, that are evenly spread and overlap by a quarter or more; the answer is "
    "the mean of theirs",
}

_CHAT = (
    "input is the text that the Jinja template `chat.template` makes of `messages`, `chat.names` and "
    "`add_generation_prompt` = true, as tokenizer.json reads it without adding marks; of more than `max_length` "
    "numbers it is the first and the last ones; the next number is chosen after the last one, until `end`, from the "
    "last `window` numbers alone; the answer is decoded without `not_text`, and stripped of blanks; `pad` is not chosen"
)


class _Probabilities(nn.Module):
    """A model with a softmax over its last dimension."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids).softmax(-1)


def example_of(trained: Trained[About], model: nn.Module, data: Splits) -> Example:
    """A trained model from token numbers to what its task gives, with real texts of the test split."""
    card, tokens = trained.about.model, data.tokens
    assert tokens is not None
    if card.options.lora is not None:
        from ptapp_nlp.models.pretrained import merge_lora

        merge_lora(model)
    positions = positions_of(model)
    recurrent = card.name in ("lstm", "gru") or any(isinstance(part, nn.RNNBase) for part in model.modules())
    kind = kind_in(model) if card.task in SUPERVISED else None
    part = prepare(card, data.test, tokens, kind=kind, names=data.classes)
    inputs, form, output = _form(card, part)
    width = (str(WIDTH),) if card.spelled else ()
    shapes = " and ".join(f"{name}: int64 ({', '.join((*dims, *width))})" for name, dims in form.items())
    about = {
        "input": f"{shapes}, numbers of tokenizer.json, padded with {card.pad}",
        **(kind.use() if kind else {"output": output, "classes": card.classes}),
        "task": card.task,
        **use_of(card, tokens),
    }
    if kind:
        model = Answers(model).eval()
    elif card.task != "translate" and not card.spelled:
        model = _Probabilities(model).eval()
    generates, translates = card.task == "generate", card.task == "translate"
    begin = tokens.begin(card.text_per) if generates else None
    # The text of a chat template has the names of marks, which its tokenizer must know.
    limit = card.max_length if card.long == "truncate" else None
    shipped = tokens.json() if card.chat else tokens.shipped(limit, eos=translates, begin=begin)
    options = {
        "free": list(form.values()),
        "names": list(form),
        "most": {} if positions is None else {"length": positions},
        "recurrent": recurrent,
    }

    def split(name: str) -> Inputs:
        return _inputs(name, prepare(card, data.part(name), tokens, kind=kind, names=data.classes), card)

    return Example(
        model,
        inputs,
        about,
        split=split,
        judge=kind.judge if kind else lambda: OfClasses(2, ignored=IGNORED),
        options=options,
        beside={"tokenizer.json": shipped},
    )


def _inputs(split: str, part: Measured, card: Card) -> Inputs:
    """The texts of a split as an export takes them, or the windows of all of them, and their targets."""
    texts = part.windows.texts if part.windows else part.whole

    def batch(rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        found = texts.gather(rows)
        if card.task in SUPERVISED:
            return (found["input"],), found["target"]
        return OUTPUTS[card.task](lambda *arguments: arguments, found, card.pad)

    return Inputs(split, len(texts), batch)


def use_of(card: Card, tokens: Tokens) -> dict[str, Any]:
    """What a program that has only the exported files must know to get this program's text from them.

    The tokenizer puts the marks around a text and cuts it; what a model writes needs its marks and limits here.
    """
    limit, end = card.max_length, {"end": tokens.end, "not_text": tokens.special}
    common = {"pad": tokens.pad, "max_length": limit}
    match card.task:
        case "classify" | "multilabel" | "regress" | "multitask":
            if card.pair_columns is not None:
                return {**common, "empty": tokens.unk, "pair": card.pair_columns, "use": _PAIR}
            use = "a text without tokens is the one number `empty`"
            if card.long == "truncate":
                return {**common, "empty": tokens.unk, "use": use}
            return {**common, "empty": tokens.unk, "long": card.long, "use": f"{use}; {_LONG[card.long]}"}
        case "tag":
            tagger = {**common, "no_token": card.classes[fallback_tag(card.classes)], "split": "words"}
            if card.spelled:
                scheme = {} if card.scheme is None else {"scheme": card.scheme}
                use = _SPELLED + ("" if card.scheme is None else _BIO + _written(card.scheme))
                return {**tagger, "letters": LETTERS, **scheme, "use": use}
            return {**tagger, "use": f"{_WORDS}the tag of a word is that of its first token, or `no_token`"}
        case "translate":
            use = (
                "target begins with `begin` and then `prefix`, where there is one; "
                "its next number is chosen after the last one, until `end` or as many as "
                "the least of `longer` * length of the source + `more` and `max_length` - 1; the text is decoded "
                "without `not_text`, and stripped of blanks"
            )
            own = {} if tokens.marks is None else {"prefix": tokens.prefix, "never": [tokens.pad]}
            if own:
                use += "; a number of `never` is not chosen"
            return {**common, "begin": tokens.start, **own, **end, "longer": LONGER, "more": MORE, "use": use}
    begin = {"begin": tokens.begin(card.text_per), "text_per": card.text_per}
    window = limit if card.name in ("transformer", CAUSAL) else None
    use = (
        "input is the prompt as tokenizer.json gives it (an empty one: `begin` alone); the next number is chosen after "
        "the last one, until `end`, from the last `window` numbers alone, where it is given; the text is decoded "
        "without `not_text`, and "
    )
    line = card.text_per == "line"
    of_file = "its first character, the line break of `begin`, is left out; no number of `not_text` is chosen"
    if tokens.marks is not None:
        of_file = "blanks around it stay; no number of `not_text` is chosen"
    if card.chat is not None:
        chat = {"chat": card.chat.stored(), "end": card.chat.end, "extras": ["chat"]}
        return {**common, **begin, **end, **chat, "window": window, "use": _CHAT}
    if card.text_per == "answer":
        use += "blanks around it stay; `pad` is not chosen"
    else:
        use += "stripped of blanks; `pad` is not chosen" if line else of_file
    return {**common, **begin, **end, "window": window, "use": use}


def _written(scheme: Scheme) -> str:
    """How tags of BIO are written in a scheme, to follow what is said of the former."""
    if scheme == "BIO":
        return ""
    if scheme == "IOB1":
        return ", and `predict` answers in IOB1: a B is an I there, unless the word before is of the same type"
    within, last, only = ENDS[scheme]
    return (
        f", and `predict` answers in {scheme}: the last word of an entity has {last}, an only word {only}, and a word "
        f"between the first and the last {within}"
    )


def _form(card: Card, part: Measured) -> tuple[tuple[Tensor, ...], _Free, str]:
    """Real samples of each input, the inputs' names with their free dimensions, and what comes out."""
    # Spread over the lengths, longest first: the exporters' example is then a real batch with padding.
    texts = part.whole if card.task == "generate" else part.texts
    rows = torch.linspace(len(texts) - 1, 0, _SAMPLES).round().long()
    batch = texts.gather(rows)
    if card.task == "translate":
        pair: _Free = {"source": ("batch", "source_length"), "target": ("batch", "target_length")}
        return (batch["source"], batch["target"]), pair, "logits (batch, target_length, vocabulary)"
    output = {
        "tag": "probabilities (batch, length, tags)" + (", those of the likeliest path alone" if card.spelled else ""),
        "generate": "probabilities of the next token (batch, length, vocabulary)",
    }.get(card.task, "")
    # The last token of a block is a target alone: a model of as many positions as the block has targets cannot read it.
    ids = batch["input"][:, :-1] if card.task == "generate" else batch["input"]
    return (ids,), {"input": ("batch", "length")}, output
