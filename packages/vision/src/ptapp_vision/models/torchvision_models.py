"""Every classifier of torchvision, fitted to other classes, channels and image sizes."""

import re
from collections import Counter

import torch
import torchvision
from torch import Tensor, nn
from torch.func import functional_call
from torchvision.models.mnasnet import MNASNet
from torchvision.models.vision_transformer import interpolate_embeddings

from ptapp_core.errors import UserError, nearest
from ptapp_core.machine.torch_private import load_any_version
from ptapp_core.weights import copy_weights
from ptapp_vision.models.network import Network
from ptapp_vision.models.weights import Weights

_CENTRED = ("googlenet", "inception_v3")
"""Their weights take pixels in [-1, 1]. torchvision normalises as for ImageNet, and its networks then undo that
(`transform_input`); here both are one step, that of `published_statistics`, which serves grey images as well."""


class TorchvisionClassifier(Network):
    """The torchvision classifier `name`, whose state dict lies under "net.".

    Input (N, channels, size, size), float normalised with `statistics` where it has them; output (N, classes) logits.
    Departures: the auxiliary heads of googlenet and inception_v3 are left out; with channels other than 3 the first
    convolution takes each channel with the mean of its colour weights, scaled so that a grey picture in one channel
    gives what it gave in three. A vision transformer is built for `size`, and the position embedding of its weights is
    interpolated.

    `pretrained` downloads torchvision's default weights; `weights` are those of a file. A head for other classes starts
    fresh. Raises UserError for an unknown name, a size that the network cannot take, weights that cannot be had, or
    weights of another model.
    """

    def __init__(
        self,
        name: str,
        *,
        classes: int,
        channels: int = 3,
        size: int = 224,
        pretrained: bool = False,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        if name not in names():
            raise UserError(f"unknown torchvision model {name!r}{nearest(name, names())}")
        try:
            self.net = _construct(name, classes, size)
            _try_one_image(self.net, size)
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"torchvision/{name} cannot take {size}x{size} images ({reason}); choose another --size"
            ) from None
        _replace_first_convolution(self.net, channels)
        head = [n for n, module in self.net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
        self.head_prefix = f"net.{head}."
        if weights is not None:
            self._load(weights.state, weights.source)
            self.statistics = weights.statistics or published_statistics(name)
        elif pretrained:
            self._load(_download(name), f"torchvision/{name}")
            self.statistics = published_statistics(name)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of the images (N, channels, size, size)."""
        logits: Tensor = self.net(x)
        return logits

    def blocks(self) -> list[nn.Module]:
        """What activation checkpointing recomputes: the outermost repeated modules with two or more layers of weights.

        Empty for a plain stack of convolutions (alexnet, vgg), where nothing is saved by recomputing single layers.
        """
        kinds = Counter(type(module) for module in self.net.modules())
        found: list[nn.Module] = []

        def visit(module: nn.Module) -> None:
            layers = sum(isinstance(part, nn.Linear | nn.Conv2d) for part in module.modules())
            if kinds[type(module)] > 1 and layers > 1 and not isinstance(module, nn.Sequential | nn.ModuleList):
                found.append(module)
            else:
                for child in module.children():
                    visit(child)

        visit(self.net)
        return found

    def _load(self, state: dict[str, Tensor], source: str) -> None:
        """Copies weights under torchvision's names, old or new, in."""
        # Weights published for densenet still have the layer names of its first version.
        state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", name): state[name] for name in state}
        if isinstance(self.net, torchvision.models.GoogLeNet | torchvision.models.Inception3):
            state = {name: value for name, value in state.items() if not name.startswith(("aux", "AuxLogits."))}
        first = _first_convolution(self.net)
        colours = state.get(f"{first}.weight")
        if colours is not None and colours.ndim == 4:
            state[f"{first}.weight"] = _recolour(colours, self.net.state_dict()[f"{first}.weight"].shape[1])
        if isinstance(self.net, torchvision.models.VisionTransformer) and "encoder.pos_embedding" in state:
            state = dict(interpolate_embeddings(self.net.image_size, self.net.patch_size, state))
        copy_weights(self.net, state, head=self.head_prefix.removeprefix("net."), source=source)


def names() -> list[str]:
    """The classifiers that torchvision has, without the prefix "torchvision/"."""
    return list(torchvision.models.list_models(module=torchvision.models))


def describe(name: str) -> str:
    """Size and accuracy of the weights that `pretrained` takes, as torchvision gives them."""
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    top1 = meta["_metrics"]["ImageNet-1K"]["acc@1"]
    return f"{meta['num_params'] / 1e6:5.1f} M, pretrained {top1:.1f} % on ImageNet"


def published_statistics(name: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation, float32 (3,), of the pixels in [0, 1] that torchvision's weights of model `name` expect."""
    if name in _CENTRED:
        return torch.full((3,), 0.5), torch.full((3,), 0.5)
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return torch.tensor(transforms.mean), torch.tensor(transforms.std)


def published_size(name: str) -> int:
    """Pixels of a side of the images that the weights of torchvision's model `name` were measured on."""
    return int(torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size[0])


def _construct(name: str, classes: int, size: int) -> nn.Module:
    options: dict[str, object] = {}
    if name in _CENTRED:
        options = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        options = {"image_size": size}
    elif name.startswith("maxvit_"):
        options = {"input_size": (size, size)}
    net: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
    if isinstance(net, MNASNet):
        # It refuses a state dict without torch.save's version numbers, and safetensors has no place for them.
        load_any_version(net)
    return net


def _try_one_image(net: nn.Module, size: int) -> None:
    """Runs a network on shapes alone, for it says only in passing, by an error of any kind, what sizes it takes."""
    shapes = {name: value.to("meta") for name, value in net.state_dict().items()}
    functional_call(net.eval(), shapes, torch.empty(1, 3, size, size, device="meta"))
    net.train()


def _first_convolution(net: nn.Module) -> str:
    return next(name for name, module in net.named_modules() if isinstance(module, nn.Conv2d))


def _replace_first_convolution(net: nn.Module, channels: int) -> None:
    first = net.get_submodule(_first_convolution(net))
    assert isinstance(first, nn.Conv2d)
    first.in_channels = channels
    first.weight = nn.Parameter(_recolour(first.weight.detach(), channels))


def _recolour(weight: Tensor, channels: int) -> Tensor:
    """A first convolution's weights (out, c, h, w) for `channels` channels: the sum over colours, shared out evenly."""
    if weight.shape[1] == channels:
        return weight
    return weight.sum(1, keepdim=True).div(channels).repeat(1, channels, 1, 1)


def _download(name: str) -> dict[str, Tensor]:
    """torchvision's default weights, from its cache or the network."""
    default = torchvision.models.get_model_weights(name).DEFAULT
    try:
        state: dict[str, Tensor] = default.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except OSError as error:  # URLError and the like
        raise UserError(
            f"--pretrained: cannot get the weights of torchvision/{name} ({error}); "
            f"download {default.url} elsewhere and pass it as --weights FILE"
        ) from None
    return state
