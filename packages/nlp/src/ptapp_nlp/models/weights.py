"""A model that begins with the weights of a run whose `--pretrained` was the same: the head alone first, then all."""

from pathlib import Path

from torch import nn

from ptapp_core.errors import UserError
from ptapp_core.runs.run import read_json
from ptapp_core.runs.typed import checked
from ptapp_core.weights import Weights, copy_weights, named_as, read_weights
from ptapp_nlp.card import About, Card
from ptapp_nlp.data.tokens import Tokens

_KIND = "kind."  # thresholds and the like, of which new data has its own
_LORA = ".lora_"


def begin_with(model: nn.Module, path: Path, *, card: Card, tokens: Tokens) -> None:
    """Copies the weights of a run, or of one of its checkpoints, into a model; a head of other outputs stays new.

    Raises UserError where they are of another model, or of a run that reads other tokens.
    """
    weights = read_weights(path, Weights[Card], domain="nlp", about=About, beside=())
    run = next((place for place in (path, *path.resolve().parents) if (place / "meta.json").is_file()), None)
    if run is None:
        raise UserError(f"{weights.source}: not in a run, whose tokens it would need; give a run or its checkpoint")
    about = checked(run / "meta.json", read_json(run / "meta.json"), About)
    if about.tokenizer != tokens.digest:  # a number would mean another token
        raise UserError(f"{weights.source}: its run reads other tokens; give the --pretrained that it began with")
    if about.model.encoder != card.encoder:
        raise UserError(f"{weights.source}: its run began with another model; give the --pretrained that it began with")
    own = {name: value for name, value in model.state_dict().items() if name.startswith(_KIND)}
    read = named_as(model, weights.state)
    given = {name: value for name, value in read.items() if not name.startswith(_KIND)}
    if not any(_LORA in name for name in given):  # what --lora adds beside the weights begins as it is
        own |= {name: value for name, value in model.state_dict().items() if _LORA in name}
        inner = {name.replace(".base_layer.", "."): name for name in model.state_dict()}
        given = {inner.get(name, name): value for name, value in given.items()}
    copy_weights(model, {**given, **own}, source=weights.source, head="head." if card.has_outputs else None)
