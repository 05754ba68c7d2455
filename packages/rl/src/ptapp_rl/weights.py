"""What a job begins with that has `--weights`: another run's policy, with its values and statistics."""

from pathlib import Path

from torch import nn

from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained
from ptapp_core.weights import copy_weights
from ptapp_rl.algos.build import build, typed
from ptapp_rl.card import About, Card

_OPTIONS = ("normalise", "hidden", "activation", "lstm", "atoms", "quantiles", "dueling", "noisy")


def begin_with(model: nn.Module, card: Card, run: Path) -> str:
    """Gives a new model of a card the weights of the best checkpoint of a run; returns a line on it.

    Raises UserError where the run's model is another: of other observations, actions, options, or kind of algorithm.
    """
    trained = Trained.find(run, "rl", About)
    before, source = trained.about.model, f"--weights {run}"
    for part in ("observation", "action"):
        if getattr(before, part) != getattr(card, part):
            raise UserError(
                f"{source}: its policy has other {part}s than this job's environment: give a run whose {part}s have "
                "the same form, shape and bounds"
            )
    for option in _OPTIONS:
        if (was := getattr(before, option)) != getattr(card, option):
            raise UserError(f"{source}: was trained with {typed({option: was})}: give this job the same")
    if type(found := trained.load(build)) is not type(model):
        raise UserError(f"{source}: a run of --algo {before.algo}, whose networks are others than those of {card.algo}")
    ends = (card.value_min, card.value_max)
    if card.atoms > 1 and (None in ends or ends != (before.value_min, before.value_max)):
        raise UserError(f"{source}: atoms mean the same returns in both: train both with --value-min and --value-max")
    copy_weights(model, found.state_dict(), source=source)
    return f"weights: those of {trained.checkpoint.name} of {run}"
