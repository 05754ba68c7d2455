"""Cards of tiny models of texts."""

from typing import Any

from ptapp_nlp.card import Card, Options
from ptapp_nlp.recipes import PRETRAINED, WRITERS

_OPTIONS = Options(
    dim=16,
    hidden=None,
    layers=2,
    heads=2,
    dropout=0.0,
    bidirectional=True,
    pool="max",
    norm="pre",
    lora=None,
)


def card_for(
    task: str, name: str, shape: dict[str, Any] | None = None, *, encoder: dict[str, Any] | None = None, **changes: Any
) -> Card:
    """The card of a model of 12 tokens and three classes, but for its `shape` and other `changes`.

    The configuration of an `encoder` is for a bert, that of a decoder for a causal model, and that of both for seq2seq.
    """
    changes |= {"encoder": encoder} if name in PRETRAINED else {}
    changes |= {"marks": (1, 2)} if name in WRITERS else {}
    tiny = {"vocab": 12, "pad": 0, "classes": ("a", "b", "c"), "max_length": 128, "text_per": "line"}
    if task == "multilabel":
        tiny |= {"kind": task, "labels": tiny.pop("classes")}
    elif task == "regress":
        tiny |= {"kind": task, "targets": tiny.pop("classes"), "mean": (0.0,) * 3, "std": (1.0,) * 3}
    options = Options(**{**_OPTIONS.stored(), **(shape or {})})
    card: dict[str, Any] = {"task": task, "name": name, **tiny, "pretrained": None, "options": options, **changes}
    return Card(**card)
