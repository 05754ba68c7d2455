"""Learning to reproduce images: the autoencoder's task and its evaluation."""

from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.data.loader import Batch, each_once
from ptapp_core.machine.runtime import Runtime
from ptapp_core.task import Task
from ptapp_vision.models.whole import Pixels


class Reconstruction(Task):
    """Minimises `loss(model(images), normalised images)`; units are samples.

    Args:
        model: (N, C, H, W) pixels -> (N, C, H, W) normalised.
        loss: summed over the samples.
    """

    model: Pixels

    def __init__(self, model: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        assert isinstance(model, Pixels)
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> tuple[Tensor, int, dict[str, Tensor]]:
        """The loss of the images of a batch, uint8 (N, C, H, W), a scalar, float32; its labels are not looked at."""
        images = batch["input"]
        return self.loss(self.model(images), self.model.normalise(images)), len(images), {}


@torch.no_grad()
def reconstruction_metrics(
    model: nn.Module, data: Any, runtime: Runtime, *, loss: nn.Module, batch_size: int = 256, workers: int = 0
) -> dict[str, float]:
    """Over a whole set: the `loss` as `Reconstruction` takes it, and `psnr` in dB of pixels in [0, 1]."""
    assert isinstance(model, Pixels)
    squared = total = 0.0
    count = 0
    for batch in each_once(data, batch_size, runtime, workers=workers):
        with runtime.autocast():
            output = model(batch["input"])
        truth = model.normalise(batch["input"])
        total += loss(output, truth).item()
        difference = output.float() - truth
        squared += (difference * model.std / 255).square().mean((1, 2, 3)).sum().item()
        count += len(output)
    squared, total, samples = runtime.total(squared, total, count)
    psnr = -10 * torch.tensor(max(squared / samples, 1e-12)).log10().item()
    return {"loss": total / samples, "psnr": psnr}
