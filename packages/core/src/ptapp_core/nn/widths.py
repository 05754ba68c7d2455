"""The widths of a network's layers: read, checked, and set again in a network that was built with wider ones."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ptapp_core.errors import UserError
from ptapp_core.machine.torch_private import BatchNorm, ConvNd

Widths = Mapping[str, Sequence[int]]
"""The sizes of each layer by its name: (inputs, outputs, groups) of a convolution, (inputs, outputs) of a linear layer,
(channels,) of batch normalisation and of `PerChannel`."""


class PerChannel(nn.Module):
    """A layer without weights whose buffer `kernel`, (channels, ...), has an entry for each channel of its input."""

    kernel: Tensor

    @property
    def channels(self) -> int:
        """How many channels its input has."""
        return len(self.kernel)


_SIZES: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (ConvNd, ("in_channels", "out_channels", "groups")),
    (nn.Linear, ("in_features", "out_features")),
    (BatchNorm, ("num_features",)),
    (PerChannel, ("channels",)),
)
"""The attributes that hold the sizes of each kind of layer."""


def widths_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """The widths of all layers of a network, in the order of its modules.

    Raises UserError, naming it, for a module that has weights and is of no kind whose width can be set.
    """
    found = {}
    for name, module in network.named_modules():
        if names := _sizes_of(module):
            found[name] = tuple(int(getattr(module, each)) for each in names)
        elif kept := [key for key, _ in module.named_parameters(recurse=False)]:
            raise UserError(
                f"{name or 'the network'} is a {type(module).__name__} with a parameter {kept[0]}: only networks whose "
                "weights lie in convolutions, linear layers and batch normalisation can lose channels; --unstructured "
                "zeroes single weights of any"
            )
    return found


def set_widths(network: nn.Module, widths: Widths) -> None:
    """Makes the layers of a network as narrow as `widths` says, in place; each keeps the first of its values.

    Raises UserError, naming the layer, where `widths` is not of this network: a layer is missing, unknown or wider than
    it was built, or its sizes do not fit each other.
    """
    built = widths_of(network)
    if missing := built.keys() - widths.keys():
        raise UserError(f"widths: {min(missing)} is missing")
    if unknown := widths.keys() - built.keys():
        raise UserError(f"widths: {min(unknown)} is no layer of this network")
    for name, sizes in widths.items():
        fits = len(sizes) == len(built[name])
        fits = fits and all(1 <= new <= old for new, old in zip(sizes, built[name], strict=True))
        if not fits or (len(sizes) == 3 and (sizes[0] % sizes[2] or sizes[1] % sizes[2])):
            raise UserError(f"widths: {name}: {list(sizes)} cannot be cut from {list(built[name])}")
    for name, sizes in widths.items():
        if tuple(sizes) != built[name]:
            _cut(network.get_submodule(name), sizes)


def _sizes_of(module: nn.Module) -> tuple[str, ...]:
    return next((names for kind, names in _SIZES if isinstance(module, kind)), ())


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]


def _cut(layer: nn.Module, sizes: Sequence[int]) -> None:
    """Keeps the first values of each tensor of a layer, so many as its new sizes have."""
    for attribute, size in zip(_sizes_of(layer), sizes, strict=True):
        if attribute != "channels":  # which follows from its kernel
            setattr(layer, attribute, size)
    for name, tensor in _tensors(layer):
        if tensor.ndim == 0:  # the count of batches of a normalisation
            continue
        kept = tensor.detach()
        for dimension, size in enumerate(_leading(layer, name, sizes)):
            kept = kept.narrow(dimension, 0, size)
        kept = kept.clone(memory_format=torch.contiguous_format)
        setattr(layer, name, nn.Parameter(kept, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else kept)


def _leading(layer: nn.Module, name: str, sizes: Sequence[int]) -> tuple[int, ...]:
    """The first sizes of a layer's tensor of that name."""
    if len(sizes) == 1 or name != "weight":
        return (sizes[-1] if len(sizes) == 1 else sizes[1],)
    inputs, outputs, groups = (*sizes, 1)[:3]
    if isinstance(layer, ConvNd) and layer.transposed:
        return inputs, outputs // groups
    return outputs, inputs // groups
