"""Which parts of a text model learn at which rate."""

import re
from collections.abc import Iterator

from torch import nn
from torch.optim import Optimizer

from ptapp_core.errors import UserError
from ptapp_core.jobs import optimizer_of as plain_optimizer
from ptapp_core.nn.transformer import Layer
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.models.own import OwnNetwork
from ptapp_nlp.recipes import SPELLED

_EMBEDDING = re.compile(r"embed(?!_out)|\bw[tp]e\b")
_LAYER = re.compile(r"\.(?:layer|layers|h|block|blocks|albert_layers)\.(\d+)\.")


def blocks_of(model: nn.Module) -> Iterator[nn.Module]:
    """The layers that activation checkpointing recomputes."""
    if isinstance(model, OwnNetwork):
        return iter(model.blocks())
    return (module for module in model.modules() if isinstance(module, Layer))


def optimizer_of(settings: TrainNLP, model: nn.Module) -> Optimizer:
    """The settings' optimizer; with `layer_decay` each lower layer of the encoder learns more slowly."""
    head: str | tuple[str, ...] = "" if settings.task in ("translate", "generate") else "head"
    if settings.model == SPELLED:
        head = ("head", "crf")
    optimizer = plain_optimizer(settings, model, model.head_prefix if isinstance(model, OwnNetwork) else head)
    if settings.layer_decay < 1:
        optimizer.param_groups = list(_by_layer(optimizer, model, settings.layer_decay))
    return optimizer


def _by_layer(optimizer: Optimizer, model: nn.Module, decay: float) -> Iterator[dict[str, object]]:
    """The groups, each divided by depth: layer i of n at decay^(n - i) of the rate, embeddings at decay^(n + 1)."""
    depth = depths(model)
    top = max(depth.values())
    if top == 1:
        raise UserError("--layer-decay: the names of this model's weights tell no layers: leave it out")
    for group in optimizer.param_groups:
        for level in sorted({depth[id(p)] for p in group["params"]}):
            own = [p for p in group["params"] if depth[id(p)] == level]
            yield {**group, "params": own, "lr": group["lr"] * decay ** (top - level)}


def depths(model: nn.Module) -> dict[int, int]:
    """The depth of each parameter by its id: embeddings 0, the layers from 1, what is above them the highest."""
    names = dict(model.named_parameters())
    layers = {name: int(found[1]) + 1 for name in names if (found := _LAYER.search(name))}
    top = max(layers.values(), default=0) + 1
    return {id(p): layers.get(name, 0 if _EMBEDDING.search(name) else top) for name, p in names.items()}
