"""The kinds of target by name, from data and from a card."""

from collections.abc import Sequence

from torch import Tensor

from ptapp_core.data.targets import PartNames, Wanted
from ptapp_core.kinds.card import KindCard, OutputsCard
from ptapp_core.kinds.classify import Classify
from ptapp_core.kinds.embed import Embed
from ptapp_core.kinds.kind import VectorKind
from ptapp_core.kinds.multilabel import Multilabel
from ptapp_core.kinds.multitask import Multitask
from ptapp_core.kinds.own import make_kind, own_kind
from ptapp_core.kinds.regress import Regress
from ptapp_core.settings.own import is_own
from ptapp_core.settings.supervised import SupervisedSettings

KINDS: dict[str, type[VectorKind]] = {kind.name: kind for kind in (Classify, Multilabel, Regress, Embed)}


def kind_for(name: str, names: Sequence[str], targets: Tensor, *, embedding: int = 128) -> VectorKind:
    """The kind of some data: `names` of its outputs, and the training targets, int64 (N,) or float64 (N, K).

    `embedding` is how many numbers a vector has that is learned of a class.
    """
    if name == Embed.name:
        return Embed(names, embedding)
    if isinstance(names, PartNames):
        own = zip(names.parts, targets.split([part.width for part in names.parts], 1), strict=True)
        return Multitask(names.titles, [kind_for(part.kind, part.names, columns) for part, columns in own])
    return make_kind(name, names, targets) if is_own(name) else KINDS[name].of(names, targets)


def kind_of(card: OutputsCard) -> VectorKind:
    """The kind of a card, from a run's `meta.json`; thresholds come with the weights."""
    if isinstance(card, KindCard) and card.kind == Multitask.name:
        return Multitask([part.target for part in card.tasks], list(map(kind_of, card.tasks)))
    if not is_own(card.kind):
        return KINDS[card.kind].of_card(card)
    kind = own_kind(card.kind).of_card(card)
    kind.name = card.kind
    return kind


def wanted_of(settings: SupervisedSettings, found: Sequence[str] = ()) -> Wanted:
    """What is to be learned from a table; of a kind of the user's own, as the one that it is like.

    `found` are the target's columns where the user named none.
    """
    if is_own(settings.task):
        task = own_kind(settings.task).like
    else:
        task = KINDS[settings.task].like if settings.task in KINDS else settings.task
    wanted = Wanted.of(task, settings.label_column)
    return wanted if wanted.columns else Wanted(wanted.kind, tuple(found))
