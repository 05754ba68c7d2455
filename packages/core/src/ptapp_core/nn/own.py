"""A network or a loss of the user's own: made, and tried on a few random samples before anything is trained."""

import inspect
from collections.abc import Callable, Mapping
from itertools import chain
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from ptapp_core.errors import UserError, nearest, one_line
from ptapp_core.nn.losses import wide

_TRIED = 4  # samples of a trial, an even number


def make_network(
    brought: tuple[ModuleType, Any],
    where: str,
    *,
    offered: Mapping[str, object],
    inputs: Tensor,
    logits: tuple[int, ...],
) -> nn.Module:
    """A network of a class that `settings.own.bring` found, tried in training and in evaluation.

    Lazy layers get their weights here; else the trial leaves the network, and the generator, as they were.

    Args:
        brought: the module, and what was found in it.
        where: what every message begins with.
        offered: keyword arguments; the class gets those of them that it takes.
        inputs: (N, ...) of the dtype and shape that the domain feeds to networks.
        logits: the shape that the result must have, such as (N, K).

    Raises:
        UserError: that is no class of networks, it needs other arguments, it cannot be made, it fails, it returns
            something else than floats of that shape, or its result does not depend on its parameters.
    """
    net = _made(*brought, where=where, offered=offered)
    _try_network(net, where, inputs, logits=logits)
    return net


def _made(module: ModuleType, found: Any, *, where: str, offered: Mapping[str, object]) -> nn.Module:
    if found is None:
        values = vars(module).items()
        classes = [name for name, value in values if isinstance(value, type) and issubclass(value, nn.Module)]
        raise UserError(f"{where}: there is no such class{nearest(where.rpartition(':')[2], classes)}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UserError(f"{where}: is no class of networks: derive it from torch.nn.Module")
    taken = _taken(found, where, offered)
    try:
        net = found(**taken)
        parameters = list(net.parameters())
    except UserError:
        raise  # a line for the user already
    except Exception as error:  # whatever the user's code does
        raise UserError(f"{where}: cannot be made: {type(error).__name__}: {one_line(error)}") from error
    if not any(parameter.requires_grad for parameter in parameters):
        raise UserError(f"{where}: has no parameters that learn")
    return net


def _taken(found: type[nn.Module], where: str, offered: Mapping[str, object]) -> dict[str, object]:
    """The arguments that a class takes by name, of those that are offered; refuses one that needs others."""
    if found.__init__ is nn.Module.__init__:
        return {}
    parameters = inspect.signature(found).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for each in parameters:
        by_name = each.name in offered and each.kind is not inspect.Parameter.POSITIONAL_ONLY
        if each.default is inspect.Parameter.empty and each.kind not in variable and not by_name:
            raise UserError(
                f"{where}: needs the argument {each.name}, and is given {', '.join(offered)} by name: give it a default"
            )
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return dict(offered)
    return {each.name: offered[each.name] for each in parameters if each.name in offered}


def _try_network(net: nn.Module, where: str, inputs: Tensor, *, logits: tuple[int, ...]) -> None:
    given = f"an input {tuple(inputs.shape)} {str(inputs.dtype).removeprefix('torch.')}"
    try:
        if any(is_lazy(each) for each in chain(net.parameters(), net.buffers())):
            net.eval()(inputs)
        with torch.random.fork_rng(devices=[]):
            for training in (False, True):
                buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
                output = functional_call(net.train(training), buffers, (inputs,))
                if not isinstance(output, Tensor) or output.shape != logits or not output.is_floating_point():
                    when = "in training" if training else "in evaluation"
                    raise UserError(f"{where}: gives {_form(output)} {when} of {given}, where logits {logits} are due")
    except UserError:
        raise
    except Exception as error:  # whatever the user's code does
        raise UserError(f"{where}: fails on {given}: {type(error).__name__}: {one_line(error)}") from error
    if not output.requires_grad:
        raise UserError(f"{where}: its logits do not depend on its parameters, which could not learn")


def _form(value: object) -> str:
    """The type of a returned value, for a message."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return f"{'an' if type(value).__name__[0].lower() in 'aeiou' else 'a'} {type(value).__name__}"


class Wrapped(nn.Module):
    """A user's network as `net`, with what ptapp asks of its own besides; a domain derives its own `Network` from it.

    Tensors lie in memory as its author expects: `view` fails on other layouts than torch's usual one.
    """

    channels_last = False

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.head_prefix = f"net.{head_of(net)}"

    def forward(self, x: Tensor) -> Tensor:
        """Returns what `net` makes of x, (N, ...) of the domain's dtype: logits, float (N, K) or (N, L, K)."""
        output: Tensor = self.net(x)
        return output

    def blocks(self) -> list[nn.Module]:
        """What activation checkpointing runs again: the network's own `blocks()`, else its direct parts."""
        if callable(own := getattr(self.net, "blocks", None)):
            return list(own())
        lists = (list(part) if isinstance(part, nn.ModuleList) else [part] for part in self.net.children())
        return [part for part in chain(*lists) if any(True for _ in part.parameters())]


def head_of(net: nn.Module) -> str:
    """What the names of a network's head begin with: its `head_prefix`, if it has one, else its last part's name."""
    if isinstance(own := getattr(net, "head_prefix", None), str):
        return own
    *_, (last, _) = net.named_parameters()
    return last[: last.rfind(".") + 1] or last


class OwnLoss(nn.Module):
    """A loss of the user's own: (outputs (N, K) float32, target) -> the sum over the samples, or the loss of each (N,).

    The target is a class a sample, (N,) int64, or probabilities (N, K) as MixUp makes them; of several labels it is
    (N, K) float32 of 0 and 1; of numbers (N, K) float32, scaled as the outputs are. Of masks outputs are (N, K, H, W),
    and the target is (N, H, W) int64.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """(N, K, ...) and the target -> the summed loss, float32 ()."""
        return self._function(wide(logits), target.long() if target.dtype == torch.uint8 else target).sum()


Targets = Callable[[int, torch.Generator], list[Tensor]]
"""Random targets of so many samples: those that a loss always gets, and then those of mixed samples."""


def make_loss(
    found: Any, where: str, shape: tuple[int, ...], *, targets: Targets, device: torch.device, mixed: bool = False
) -> OwnLoss:
    """The loss of a function, or of a class of losses that needs no arguments, tried on a few random samples.

    `shape` is that of what a network gives for a sample, (K,) or (K, H, W); `mixed` says that samples are mixed. Raises
    UserError, which begins with `where`, if it cannot be called, returns something else than a sum or a loss of each
    sample, or has no gradient.
    """
    try:
        function = found() if isinstance(found, type) else found
    except Exception as error:  # whatever the user's code does
        raise UserError(f"{where}: cannot be made: {type(error).__name__}: {one_line(error)}") from error
    if not callable(function):
        raise UserError(f"{where}: there is no such function")
    if isinstance(function, nn.Module) and any(True for _ in function.parameters()):
        raise UserError(f"{where}: has parameters, and a loss does not learn: put them into the network")
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(_TRIED, *shape, generator=draw).to(device).requires_grad_()
    loss = OwnLoss(function).to(device)
    first, *others = targets(_TRIED, draw)
    with torch.random.fork_rng(devices=[]):
        for target in [first, *(others if mixed else ())]:
            _try_loss(function, where, logits, target.to(device))
    return loss


def _try_loss(function: Callable[[Tensor, Tensor], Tensor], where: str, logits: Tensor, target: Tensor) -> None:
    """Calls it on all samples and on each half: a sum over samples is the sum of the two."""
    given = f"logits {tuple(logits.shape)} and targets {tuple(target.shape)} {str(target.dtype).removeprefix('torch.')}"
    half = _TRIED // 2
    try:
        whole = function(logits, target)
        parts = [function(logits[rows], target[rows]) for rows in (slice(0, half), slice(half, None))]
    except Exception as error:  # whatever the user's code does
        raise UserError(f"{where}: fails on {given}: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(whole, Tensor) or whole.shape not in ((), (_TRIED,)) or not whole.is_floating_point():
        raise UserError(
            f"{where}: returns {_form(whole)} of {given}, where the sum, a scalar, or the loss of each sample "
            f"({_TRIED},) is due"
        )
    if not whole.requires_grad or torch.autograd.grad(whole.sum(), logits, allow_unused=True)[0] is None:
        raise UserError(f"{where}: has no gradient by the logits: compute it with differentiable functions of torch")
    total, halves = whole.sum().item(), sum(part.sum().item() for part in parts)
    if abs(total - halves) > 1e-3 * max(abs(total), abs(halves)) + 1e-5:
        raise UserError(
            f"{where}: is no sum over samples: {total:.4g} of {_TRIED}, and {halves:.4g} of its halves together; "
            "return the sum (reduction='sum'), or the loss of each sample"
        )
