"""A kind of target of the user's own: found by its name, and tried on a few random samples before it is trained."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.data.targets import CLASSIFY, MULTILABEL, REGRESS
from ptapp_core.errors import UserError, nearest, one_line
from ptapp_core.kinds.card import KindCard
from ptapp_core.kinds.kind import VectorKind
from ptapp_core.nn.own import make_loss
from ptapp_core.settings.own import bring, full_name

_TRIED = 4  # samples
_LIKE = {CLASSIFY: "classes", MULTILABEL: "labels", REGRESS: "targets"}


def own_kind(name: str) -> type[VectorKind]:
    """The kind `module:Class` or `file.py:Class`; raises UserError where that is none."""
    where = f"--task {name}"
    module, found = bring(name, "--task", "the class of the kind")
    if found is None:
        kinds = [
            each for each, value in vars(module).items() if isinstance(value, type) and issubclass(value, VectorKind)
        ]
        raise UserError(f"{where}: there is no such class{nearest(name.rpartition(':')[2], kinds)}")
    if not (isinstance(found, type) and issubclass(found, VectorKind)):
        raise UserError(f"{where}: is no kind of target: derive it from ptapp_core.kinds.kind.VectorKind")
    for attribute in ("figures", "called", "output"):
        if not hasattr(found, attribute):
            raise UserError(f"{where}: has no `{attribute}`; ptapp_core.kinds.kind says what it is")
    if found.like not in _LIKE or found.called not in _LIKE.values():
        raise UserError(
            f"{where}: `like` is one of {', '.join(_LIKE)}, and `called` one of {', '.join(_LIKE.values())}"
        )
    return found


def make_kind(name: str, names: Sequence[str], targets: Tensor) -> VectorKind:
    """The kind of a name for some data, tried on it: `names` of its outputs, and the training targets.

    The targets are classes, int64 (N,), or labels or numbers, float64 (N, K). Raises UserError where it fails, where
    its loss is no sum over samples, where it lacks one of its figures, or where its card does not bring back a value.
    """
    where, found = f"--task {name}", own_kind(name)
    try:
        kind = found.of(names, targets)
        kind.name = full_name(name)
        target = kind.as_learned(names, targets[torch.arange(_TRIED) % len(targets)])
        loss = kind.loss(None, target, weighed=False, label_smoothing=0.0)
        outputs = torch.randn(_TRIED, kind.outputs, generator=torch.Generator().manual_seed(0))
        answers, figures = kind(outputs), kind.gathered(outputs, target).figures(loss)
        card = kind.card()
        if card.get("kind") != kind.name:
            raise UserError(f"{where}: its `card` does not say its kind: begin it with super().card()")
        fresh = found.of(names, targets)  # without what the trial above may have left in the other one
        fresh.name = kind.name
        again = found.of_card(KindCard.model_validate_json(json.dumps(fresh.card())))
    except UserError:
        raise
    except Exception as error:  # whatever the user's code does
        raise UserError(f"{where}: fails on outputs and targets: {type(error).__name__}: {one_line(error)}") from error
    if answers.shape != outputs.shape:
        raise UserError(
            f"{where}: gives answers {tuple(answers.shape)} of outputs {tuple(outputs.shape)}: keep the shape"
        )
    if lacking := [figure for figure in kind.figures if figure not in figures]:
        raise UserError(f"{where}: its predictions have no figure {lacking[0]!r}{nearest(lacking[0], figures)}")
    _refuse_lost(fresh, again, where)
    make_loss(loss, where, (kind.outputs,), targets=lambda count, draw: [target], device=torch.device("cpu"))
    return kind


def _refuse_lost(kind: VectorKind, again: VectorKind, where: str) -> None:
    """Raises UserError where the kind that its card builds lacks a value that it has: a loaded run would be another."""
    for name in vars(kind).keys() - vars(nn.Module()).keys() - {"name"}:
        own, other = vars(kind)[name], getattr(again, name, None)
        if not _alike(own, other):
            raise UserError(
                f"{where}: `{name}` is {own!r:.60} in training and {other!r:.60} in a run that is loaded: "
                "write it in `card` and read it in `of_card`, or make it a buffer named in `measured`"
            )


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are the same but for rounding and for how JSON writes them; of other types, only these."""
    one, other = (each.tolist() if hasattr(each, "tolist") else each for each in (one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        texts = {str(key): value for key, value in other.items()}
        return {*map(str, one)} == texts.keys() and all(_alike(value, texts[str(key)]) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6) or (one != one and other != other)
    return one == other if isinstance(one, (str, set, frozenset, type(None))) else type(one) is type(other)
