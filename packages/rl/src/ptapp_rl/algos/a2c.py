"""Advantage actor-critic: the synchronous form of A3C (Mnih et al. 2016).

Short rollouts of several environments, one step of gradient for each: the log-probability of what was done, weighted by
how much better it went than the critic thought, and the critic's squared error.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional

from ptapp_core.task import Task
from ptapp_rl.models.actor import Networks


class A2C(Task):
    """-log p(a) A + value_loss (V - R)^2 - entropy H; A and R are those of the rollout and have no gradient."""

    model: Networks

    def __init__(self, model: Networks, *, value_loss: float = 0.5, entropy: float = 0.0) -> None:
        super().__init__()
        self.model, self.value_loss, self.entropy = model, value_loss, entropy

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, int, dict[str, Tensor]]:
        """The loss of a minibatch of `Rollouts`, a float32 scalar; units are its transitions."""
        parameters, value = self.model.both(batch)
        log_prob, entropy = self.model.head.score(parameters, batch["action"])
        error = functional.mse_loss(value, batch["target"], reduction="sum")
        bonus = entropy.sum()
        loss = self.value_loss * error - (log_prob * batch["advantage"]).sum()
        if self.entropy:
            loss = loss - self.entropy * bonus
        figures = {"value_error": error.detach(), "entropy": bonus.detach()}
        return loss, len(log_prob), figures
