"""One optimizer step: unscale, divide, clip, check, step."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from ptapp_core.runtime import Runtime


class NotFinite(Exception):
    """A loss or gradient was not finite; no weight was touched by it. `step` tells when it first was."""

    def __init__(self, steps_ago: int) -> None:
        super().__init__(f"{steps_ago} steps ago")
        self.steps_ago = steps_ago


class Update:
    """Takes gradients to the weights, and keeps not-finite ones out (contract 10) without waiting for the device.

    The check writes a flag on the device, and fused optimizers read it there and leave the weights alone (as they do
    for GradScaler); the host looks at the flag only when it logs. The flag stays up, so no later step moves the weights
    either. With fp16 it is lowered again: a too large loss scale is normal there, and the step is skipped and counted.
    """

    def __init__(self, optimizer: Optimizer, runtime: Runtime, clip: float | None = None) -> None:
        self.scaler = runtime.scaler()
        self.norm: Tensor | None = None
        """Global norm of the latest gradient before clipping; None without clipping."""
        self._optimizer, self._clip = optimizer, clip
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._bad = torch.zeros((), device=runtime.device)
        self._bad_steps = torch.zeros((), device=runtime.device)
        self._one = torch.ones((), device=runtime.device)
        self._steps = 0  # since the last look
        # On the processor the host may look at once, which is cheaper than the kernel's own look.
        self._on_device = runtime.device.type != "cpu" and bool(optimizer.defaults.get("fused"))
        if self._on_device and not self.scaler.is_enabled():
            optimizer.found_inf = self._bad  # type: ignore[attr-defined]

    def step(self, loss: Tensor, scale: float) -> None:
        """Multiplies the gradients by `scale` and takes the step unless `loss` or a gradient is not finite."""
        self._steps += 1
        fp16 = self.scaler.is_enabled()
        if fp16:
            self.scaler.unscale_(self._optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if scale != 1.0:
            torch._foreach_mul_(gradients, scale)
        if self._clip is not None:
            self.norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._clip)
        # GradScaler's own kernel: raises the flag if any value is not finite, in one pass (and multiplies by one).
        torch._amp_foreach_non_finite_check_and_unscale_([*gradients, loss.detach()], self._bad, self._one)
        self._bad_steps.add_(self._bad)
        if fp16:
            self.scaler.step(self._optimizer)
            self.scaler.update()
            self._bad.zero_()
        elif self._on_device or not self._bad.item():
            self._optimizer.step()
        for parameter in self._parameters:
            parameter.grad = None

    def check(self) -> int:
        """Looks at the flag: how many steps fp16 skipped since the last look.

        Raises NotFinite if a step was not finite without fp16, or if fp16 skipped all of 20 or more.
        """
        bad, steps = int(self._bad_steps.item()), self._steps
        if bad and (not self.scaler.is_enabled() or bad == steps >= 20):
            raise NotFinite(bad)
        self._bad_steps.zero_()
        self._steps = 0
        return bad
