"""Channels that count least are removed from a network, and what is left computes what it did without them."""

import math
import warnings
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ptapp_core.errors import UserError, one_line
from ptapp_core.machine.torch_private import ConvNd
from ptapp_core.nn.widths import PerChannel, widths_of

MULTIPLE = 8
"""Layers are cut to multiples of so many channels, which fill the vectors of processors."""
_CLOSE = 1e-4  # the greatest difference between what is left and what was zeroed, relative to the outputs' spread

_LOST = "the channels of this network cannot be followed"
_REMEDY = "give --unstructured, which zeroes single weights of any network"


class _Cut(NamedTuple):
    """Channels that go together: those of a layer, with all that reads or adds to them."""

    layer: nn.Module
    handler: Any
    """The function of torch-pruning that removes them from the layer."""
    channels: list[int]


def remove_channels(network: nn.Module, example: Tensor, share: float) -> None:
    """Removes a share of the channels of each layer, in place; the last layer keeps its outputs.

    Channels that depend on each other, over sums, concatenations and normalisations, go together (Fang et al. 2023,
    "DepGraph: towards any structural pruning"); those of the least L2 norm over all their weights go first (Li et al.
    2017, "Pruning filters for efficient ConvNets"). A layer keeps at least the share of its channels that is left, and
    a multiple of `MULTIPLE`.

    Args:
        network: float32, on the CPU; its weights lie in layers that `widths_of` knows, and it computes in the dtype
            that they have.
        example: several different inputs, (N, ...), of the network.
        share: above 0 and below 1.

    Raises:
        UserError: the network has weights of another kind, its channels cannot be followed, its outputs do not depend
            on its input, or all layers are too narrow to lose any at this share. The network is of no use then.
    """
    before = widths_of(network.eval())
    zeroed = deepcopy(network)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch-pruning's own
            _remove(network, example, share, zeroed=zeroed)
        difference = _difference(network, zeroed, example)
    except Exception as error:  # a graph that torch-pruning cannot follow may fail anywhere, in the network itself too
        raise UserError(f"{_LOST} ({one_line(error)[:200]}); {_REMEDY}") from error
    if not difference <= _CLOSE:
        raise UserError(f"{_LOST}: without those that were zeroed it computes something else; {_REMEDY}")
    if widths_of(network) == before:
        raise UserError(
            f"--share {share:g} removes nothing: layers keep multiples of {MULTIPLE} channels; give a larger one"
        )


def zero_weights(network: nn.Module, share: float) -> None:
    """Sets the smallest of all weights of convolutions and linear layers to zero, in place, whatever layer they are in.

    After Han et al. 2015 ("Learning both weights and connections for efficient neural networks"). Shapes and times stay
    as they were. `share`: above 0 and below 1. Raises UserError where there are no such layers.
    """
    layers = [module for module in network.modules() if isinstance(module, ConvNd | nn.Linear)]
    if not layers:
        raise UserError("--unstructured: this network has no convolution or linear layer whose weights could be zeroed")
    weights = [own for layer in layers for name, own in layer.named_parameters(recurse=False) if name == "weight"]
    sizes = torch.cat([weight.detach().abs().flatten() for weight in weights])
    keeps = torch.ones_like(sizes)
    keeps[sizes.argsort(stable=True)[: round(share * len(sizes))]] = 0
    with torch.no_grad():
        for weight, keep in zip(weights, keeps.split([weight.numel() for weight in weights]), strict=True):
            weight.mul_(keep.view(weight.shape))


def _remove(network: nn.Module, example: Tensor, share: float, *, zeroed: nn.Module) -> None:
    """Cuts the network, and sets the same channels of its copy `zeroed` to zero."""
    import torch_pruning

    names = {module: name for name, module in network.named_modules()}
    custom = {type(module): _pruner(torch_pruning) for module in names if isinstance(module, PerChannel)}
    graph = torch_pruning.DependencyGraph().build_dependency(network, example, customized_pruners=custom)
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    groups = graph.get_all_groups([_last_layer(network, example)], [ConvNd, nn.Linear])
    cuts = [cut for group in groups if (cut := _cut_of(group, importance(group), share))]
    for cut in cuts:  # all of them first, for their numbers are those of the whole network
        for dependency, channels in graph.get_pruning_group(*cut):
            if (layer := dependency.target.module) in names:
                outputs = graph.is_out_channel_pruning_fn(dependency.handler)
                _zero(zeroed.get_submodule(names[layer]), [int(each) for each in channels], outputs=outputs)
    for cut in cuts:
        graph.get_pruning_group(*cut).prune()


def _cut_of(group: Any, scores: Tensor | None, share: float) -> _Cut | None:
    """The channels that a group loses; None where it is too narrow. `scores`: float (channels,)."""
    if scores is None:
        return None
    layers = (dependency.target.module for dependency, _ in group)
    parts = math.lcm(*(layer.groups for layer in layers if isinstance(layer, ConvNd) and _is_grouped(layer)))
    width, step = len(scores) // parts, MULTIPLE // math.gcd(MULTIPLE, parts)
    kept = math.ceil(round((1 - share) * width / step, 9))  # 1 - 0.7 is a little more than 0.3
    gone = width - min(width, step * kept)
    if not gone:
        return None
    least = scores.view(parts, width).mean(0).argsort(stable=True)[:gone]  # the same of each part of a grouped layer
    channels = (least + width * torch.arange(parts)[:, None]).flatten()
    return _Cut(group[0].dep.target.module, group[0].dep.handler, channels.tolist())


def _is_grouped(layer: ConvNd) -> bool:
    """Whether its channels are in groups of several, which must stay of one size."""
    return 1 < layer.groups < layer.out_channels


def _last_layer(network: nn.Module, example: Tensor) -> nn.Module:
    """The convolution or linear layer that is computed last, whose outputs are those of the network."""
    seen: list[nn.Module] = []
    layers = [module for module in network.modules() if isinstance(module, ConvNd | nn.Linear)]
    hooks = [layer.register_forward_hook(lambda layer, *_: seen.append(layer)) for layer in layers]
    with torch.no_grad():
        network(example)
    for hook in hooks:
        hook.remove()
    return seen[-1]


@torch.no_grad()
def _zero(layer: nn.Module, channels: list[int], *, outputs: bool) -> None:
    """Sets what a layer makes of its own channels, or what it takes of others', to zero."""
    transposed = isinstance(layer, ConvNd) and layer.transposed
    for name, tensor in layer.named_parameters(recurse=False):
        if name == "weight" and outputs == transposed and tensor.ndim > 1:  # the channels are not its first dimension
            groups = layer.groups if isinstance(layer, ConvNd) else 1
            size = tensor.shape[1]
            parts = tensor.unflatten(0, (groups, -1))  # (groups, channels of the other side, channels of a group, ...)
            for channel in channels:
                parts[channel // size, :, channel % size] = 0
        elif outputs or name == "weight":
            tensor[channels] = 0


def _difference(network: nn.Module, zeroed: nn.Module, example: Tensor) -> float:
    """The greatest difference of the outputs of two networks, relative to how much those of `zeroed` vary over inputs.

    Computed in float64: where a large bias is added to outputs that vary little, float32 would round them. Raises
    ValueError where they do not vary, for then equal outputs prove nothing.
    """
    with torch.no_grad():
        left, whole = (deepcopy(each).double()(example.double()) for each in (network, zeroed))
    if left.shape != whole.shape:
        return math.inf
    spread = (whole.amax(0) - whole.amin(0)).max()
    if spread == 0:
        raise ValueError("its outputs are the same for all inputs that were tried")
    return float((left - whole).abs().max() / spread)


def _pruner(torch_pruning: Any) -> Any:
    """How torch-pruning cuts a layer of the class `PerChannel`."""

    class Pruner(torch_pruning.BasePruningFunc):  # type: ignore[misc]
        def prune_out_channels(self, layer: PerChannel, channels: list[int]) -> PerChannel:
            gone = set(channels)
            layer.kernel = layer.kernel[[each for each in range(layer.channels) if each not in gone]]
            return layer

        prune_in_channels = prune_out_channels  # what goes in goes out

        def get_out_channels(self, layer: PerChannel) -> int:
            return layer.channels

        get_in_channels = get_out_channels

    return Pruner()
