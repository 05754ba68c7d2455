"""The image models by name."""

import inspect
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from ptapp_core.errors import UserError, nearest
from ptapp_core.settings.own import is_own
from ptapp_core.weights import begin_with, copy_weights
from ptapp_vision.models.autoencoder import Autoencoder
from ptapp_vision.models.fercnn import FerCNN
from ptapp_vision.models.network import Network
from ptapp_vision.models.own import own_network
from ptapp_vision.models.resnet import ResNet
from ptapp_vision.models.unet import UNet
from ptapp_vision.models.weights import Weights, read_weights

__all__ = [
    "Autoencoder",
    "FerCNN",
    "Network",
    "ResNet",
    "UNet",
    "Weights",
    "build",
    "names",
    "read_weights",
    "usual_size",
]

BUILDERS: dict[str, Callable[..., Network]] = {
    "fercnn": FerCNN,
    "resnet18": partial(ResNet, (2, 2, 2, 2), False),
    "resnet34": partial(ResNet, (3, 4, 6, 3), False),
    "resnet50": partial(ResNet, (3, 4, 6, 3), True),
    "resnet101": partial(ResNet, (3, 4, 23, 3), True),
    "autoencoder": Autoencoder,
    "unet": UNet,
}
ABOUT = {
    "fercnn": "small VGG-style network for faces, quick on a CPU (0.3 M)",
    "resnet18": "residual network with five later improvements (11 M)",
    "resnet34": "the same, twice as deep (21 M)",
    "resnet50": "the same with bottleneck blocks (26 M)",
    "resnet101": "the same, twice as deep again (47 M)",
    "autoencoder": "learns without classes: an image to 32 numbers and back",
    "unet": "U-Net of residual blocks: a class for each pixel (8 M)",
}
"""A line for each of `BUILDERS`; millions of parameters with ten classes of small images."""
SMALLEST = 16  # pixels a side


def names() -> list[str]:
    """Every name that `build` knows."""
    torchvision = _torchvision_models()
    return [*BUILDERS, *(f"torchvision/{name}" for name in torchvision.names())]


def descriptions() -> dict[str, str]:
    """A line about each of `names`."""
    torchvision = _torchvision_models()
    return {**ABOUT, **{f"torchvision/{name}": torchvision.describe(name) for name in torchvision.names()}}


def usual_size(name: str, weights: Weights | None, pretrained: bool) -> int | None:
    """Pixels of a side of the images that the initial weights are made for; None where any size will do.

    Those of a run of a torchvision model were trained at that run's size, other weights of it at the published one.
    """
    if not name.startswith("torchvision/") or not (weights or pretrained):
        return None
    if weights is not None and weights.size is not None:
        return weights.size
    torchvision, own = _torchvision_models(), name.removeprefix("torchvision/")
    return torchvision.published_size(own) if own in torchvision.names() else None  # `build` says that it is unknown


def build(
    name: str,
    *,
    classes: int,
    channels: int,
    size: int,
    pretrained: bool = False,
    weights: Weights | None = None,
    of_pixels: bool = False,
    **options: object,
) -> Network:
    """The model `name` for normalised float images (N, channels, size, size); `options` are its own keywords.

    `name` may be that of a class of the user's own, `module:Class` or `file.py:Class`, which is imported.

    It returns logits (N, classes), the U-Net (N, classes, size, size), or, the autoencoder, images; a network of the
    user's own logits of each pixel if they are asked for (`of_pixels`). Each model has
    `head_prefix`, the state-dict prefix of what is not backbone, and `blocks()`, the modules that activation
    checkpointing recomputes. `weights` are from `read_weights`; a head for other classes starts fresh, and `statistics`
    are those of the pixels that they expect.

    Raises UserError for an unknown name or option, an image too small, or weights that do not fit or cannot be had.
    """
    shape = {"classes": classes, "channels": channels, "size": size}
    if weights is not None and weights.widths is not None:
        as_built: dict[str, Any] = {**shape, **options}
        network = build(name, of_pixels=of_pixels, **as_built)
        begin_with(network, weights, head=network.head_prefix)
        network.statistics = weights.statistics
        return network
    if is_own(name):
        _refuse_unknown(name, options, [])
        return own_network(name, weights=weights, of_pixels=of_pixels, **shape)
    if name.startswith("torchvision/"):
        _refuse_unknown(name, options, [])
        own = name.removeprefix("torchvision/")
        return _torchvision_models().TorchvisionClassifier(own, pretrained=pretrained, weights=weights, **shape)
    if name not in BUILDERS:
        raise UserError(f"unknown model {name!r}{nearest(name, names())}; one of your own is module:Class")
    if pretrained:
        raise UserError(f"--pretrained: {name} has no published weights; take torchvision/NAME, or --weights FILE")
    if size < SMALLEST:
        raise UserError(f"{name} needs images of at least {SMALLEST}x{SMALLEST} pixels, not {size}x{size}; use --size")
    known = inspect.signature(BUILDERS[name]).parameters
    _refuse_unknown(name, options, [key for key in known if key not in shape])
    model = BUILDERS[name](**{key: value for key, value in shape.items() if key in known}, **options)
    if weights is not None:
        copy_weights(model, weights.state, head=model.head_prefix, source=weights.source)
        model.statistics = weights.statistics
    return model


def _torchvision_models() -> ModuleType:
    """The module of torchvision's classifiers, imported only where it is used: it takes a second or more."""
    return import_module("ptapp_vision.models.torchvision_models")


def _refuse_unknown(name: str, options: dict[str, object], known: list[str]) -> None:
    for option in options:
        if option not in known:
            hint = nearest(option, known) if known else "; it has none"
            raise UserError(f"{name} has no option {option!r}{hint}")
