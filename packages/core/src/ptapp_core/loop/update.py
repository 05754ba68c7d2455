"""One optimizer step: unscale, divide, clip, check, step."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.sharding import held_by, local
from ptapp_core.machine.torch_private import multiply_each, norm_of_each, raise_where_not_finite, skip_where_raised


class NotFinite(Exception):
    """A loss or gradient was not finite, first so many steps ago; no weight was touched by it."""

    def __init__(self, steps_ago: int) -> None:
        super().__init__(f"{steps_ago} steps ago")
        self.steps_ago = steps_ago


class Update:
    """Takes gradients to the weights, and keeps not-finite ones out (contract 10) without waiting for the device.

    The check writes a flag on the device, and fused optimizers read it there and leave the weights alone (as they do
    for GradScaler); the host looks at the flag only when it logs. The flag stays up, so no later step moves the weights
    either. With fp16 a gradient may overflow because its scale is too large: GradScaler skips that step, which is
    counted, and the loss alone raises the flag.
    """

    def __init__(self, optimizer: Optimizer, runtime: Runtime, clip: float | None = None) -> None:
        self.scaler = runtime.scaler()
        self.figures: dict[str, Tensor | float] = {}
        """The latest step's learning rate of the last group (the head), and with clipping the gradient's global norm
        before it."""
        self._optimizer, self._runtime, self._clip = optimizer, runtime, clip
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        # The flag; steps since it went up; the factor 1; steps that fp16 skipped. Four scalars of one tensor.
        self._bad, self._bad_steps, self._one, self._overflows = torch.tensor([0.0, 0, 1, 0], device=runtime.device)
        self._steps = 0  # since the last look
        self._overflows_in_a_row = 0
        _begin_momentum(optimizer)
        # On the processor the host may look at once, which is cheaper than the kernel's own look.
        self._on_device = runtime.device.type != "cpu" and bool(optimizer.defaults.get("fused"))
        if self._on_device and not self.scaler.is_enabled():
            skip_where_raised(optimizer, self._bad)

    def step(self, loss: Tensor, scale: float) -> None:
        """Multiplies the gradients by `scale` and takes the step unless `loss` or a gradient is not finite.

        `loss` is a float scalar, of which only matters whether it is finite.
        """
        self._steps += 1
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if self._runtime.sharded:
            gradients = [local(gradient) for gradient in gradients]
        if self.scaler.is_enabled():
            gradients[0].add_(loss.detach() * 0.0)  # a not-finite loss is a not-finite gradient, which GradScaler skips
            self.scaler.unscale_(self._optimizer)
        if scale != 1.0:
            multiply_each(gradients, scale)
        self.figures = {"lr": float(self._optimizer.param_groups[-1]["lr"])}
        if self._clip is not None:
            self.figures["grad_norm"] = _clip(gradients, self._clip, self._runtime, held=self._held())
        if self.scaler.is_enabled():
            self._raise(torch.zeros_like(self._bad), gradients, self._overflows)
            self._raise(self._bad, [loss.detach()], self._bad_steps)
            self.scaler.step(self._optimizer)
            self.scaler.update()
        else:
            self._raise(self._bad, [*gradients, loss.detach()], self._bad_steps)
            if self._on_device or not self._bad.item():
                self._optimizer.step()
        for parameter in self._parameters:
            parameter.grad = None

    def _held(self) -> list[int] | None:
        """Of each gradient, by how many ranks of a group all of it is held; None where each rank holds its own part."""
        if self._runtime.tensor_ranks == 1:
            return None
        return [held_by(parameter) for parameter in self._parameters if parameter.grad is not None]

    def check(self) -> int:
        """Looks at the flag: how many steps fp16 skipped since the last look.

        Raises NotFinite, on all ranks, if a step was not finite on one, or if fp16 skipped 20 or more in a row.
        """
        steps, self._steps = self._steps, 0
        if bad := max(self._runtime.gather(int(self._bad_steps.item()))):
            raise NotFinite(bad)
        skipped = int(self._overflows.item())
        self._overflows.zero_()
        self._overflows_in_a_row = self._overflows_in_a_row + steps if skipped == steps else 0
        if self._overflows_in_a_row >= 20:
            raise NotFinite(self._overflows_in_a_row)
        return skipped

    def _raise(self, flag: Tensor, tensors: list[Tensor], steps: Tensor) -> None:
        """Raises the flag if any value is not finite, and counts the step if it is up."""
        raise_where_not_finite(flag, tensors, self._one)
        self._runtime.raise_together(flag)
        steps.add_(flag)


def _clip(gradients: list[Tensor], limit: float, runtime: Runtime, *, held: list[int] | None) -> Tensor:
    """The global norm, over all ranks, to which the gradients are scaled down where it is above the limit.

    The same bits as `torch.nn.utils.clip_grad_norm_`, which takes twice as long for a small model: it sorts gradients
    by device and type, and here they are all on one.
    """
    norms = torch.stack(norm_of_each(gradients))
    if held is not None:  # squares are added up over the ranks
        norms /= norms.new_tensor(held).sqrt()
    norm = runtime.norm(torch.linalg.vector_norm(norms))
    multiply_each(gradients, (limit / (norm + 1e-6)).clamp_(max=1.0))
    return norm


def _begin_momentum(optimizer: Optimizer) -> None:
    """SGD makes its momentum in a parameter's first step.

    It leaves it unwritten where fp16 skips that step, and fails where another parameter takes its first step later.
    """
    for group in optimizer.param_groups:
        if isinstance(optimizer, torch.optim.SGD) and group["momentum"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
