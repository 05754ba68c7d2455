"""REINFORCE with a baseline (Williams 1992): the gradient of log p(a), weighted by the return that followed.

The return is the discounted sum of all rewards to the end of the episode, less the baseline, a learned value of the
state that lowers the variance and leaves the gradient's mean alone. Rollouts are long, and take in whole episodes; the
end of a rollout cuts the episodes that run through it as a time limit does, and the baseline stands for the rest. The
paper's rollouts are whole episodes; here the baseline's error enters the returns of those that are cut, discounted, and
a longer --rollout makes them fewer.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional

from ptapp_core.task import Task
from ptapp_rl.models.actor import Networks


class Reinforce(Task):
    """-log p(a) (G - b) - entropy H, and the baseline's squared error."""

    model: Networks

    def __init__(self, model: Networks, *, value_loss: float = 0.5, entropy: float = 0.0) -> None:
        super().__init__()
        self.model, self.value_loss, self.entropy = model, value_loss, entropy

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, int, dict[str, Tensor]]:
        """The loss of a whole rollout, a float32 scalar; units are its transitions.

        The batch is that of `Rollouts` with gae = 1, whose advantage is the return less the baseline.
        """
        parameters, baseline = self.model.both(batch)
        log_prob, entropy = self.model.head.score(parameters, batch["action"])
        gain = (log_prob * batch["advantage"]).sum()
        error = functional.mse_loss(baseline, batch["target"], reduction="sum")
        bonus = entropy.sum()
        loss = self.value_loss * error - gain
        if self.entropy:
            loss = loss - self.entropy * bonus
        figures = {"value_error": error.detach(), "entropy": bonus.detach()}
        return loss, len(log_prob), figures
