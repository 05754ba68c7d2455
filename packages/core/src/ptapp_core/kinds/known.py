"""The kinds of target by name, from data and from a card."""

from collections.abc import Sequence

from torch import Tensor

from ptapp_core.kinds.card import KindCard
from ptapp_core.kinds.classify import Classify
from ptapp_core.kinds.kind import VectorKind
from ptapp_core.kinds.multilabel import Multilabel
from ptapp_core.kinds.regress import Regress

KINDS: dict[str, type[VectorKind]] = {kind.name: kind for kind in (Classify, Multilabel, Regress)}


def kind_for(name: str, names: Sequence[str], targets: Tensor) -> VectorKind:
    """The kind of some data: `names` of its outputs, and the training targets (N,) or (N, K)."""
    return Regress.of(names, targets) if name == Regress.name else KINDS[name](names)


def kind_of(card: KindCard) -> VectorKind:
    """The kind of a card, from a run's `meta.json`; thresholds come with the weights."""
    if card.kind == Regress.name:
        return Regress(card.targets, card.mean, card.std)
    return KINDS[card.kind](card.outputs)
