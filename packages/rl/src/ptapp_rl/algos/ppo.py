"""Proximal policy optimisation (Schulman et al. 2017), with the details of Huang et al. 2022 that matter.

A rollout is learned from several times. The ratio r of an action's probability now to that when it was played says how
far the policy has moved; the objective min(r A, clip(r, 1 - e, 1 + e) A) has no gain in moving it further than e.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ptapp_core.task import Task
from ptapp_rl.models.actor import Networks


class PPO(Task):
    """The clipped objective (eq. 7), the value's squared error and an entropy bonus (eq. 9).

    Args:
        clip_ratio: e above.
        clip_value: also keeps the value within this of what it was (as in the paper's own code).
        value_loss: weight of the squared error.
        entropy: weight of the bonus.
    """

    model: Networks

    def __init__(
        self,
        model: Networks,
        *,
        clip_ratio: float = 0.2,
        clip_value: float | None = None,
        value_loss: float = 0.5,
        entropy: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.clip_ratio, self.clip_value = clip_ratio, clip_value
        self.value_loss, self.entropy = value_loss, entropy

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, int, dict[str, Tensor]]:
        """The loss of a minibatch of `Rollouts`, a float32 scalar; units are its transitions."""
        advantage = batch["advantage"]
        parameters, value = self.model.both(batch)
        log_prob, entropy = self.model.head.score(parameters, batch["action"])
        log_ratio = log_prob - batch["log_prob"]
        ratio = log_ratio.exp()
        # min(r A, clip(r) A) = min(r A, L) = L - max(L - r A, 0), where L = A + e |A|: the same, in fewer operations
        limit = torch.add(advantage, advantage.abs(), alpha=self.clip_ratio)
        room = torch.addcmul(limit, ratio, advantage, value=-1.0)
        error = self._value_error(value, batch)
        loss = self.value_loss * error + (room.relu() - limit).sum()
        if self.entropy:
            loss = loss - self.entropy * entropy.sum()
        with torch.no_grad():
            figures = {"value_error": error.detach(), "entropy": entropy.sum(), "clipped": (room < 0).sum()}
            figures["kl"] = (ratio - log_ratio).sum() - len(advantage)  # Schulman's (2020) estimate: (r - 1) - log r
        return loss, len(advantage), figures

    def _value_error(self, value: Tensor, batch: dict[str, Any]) -> Tensor:
        if self.clip_value is None:
            return functional.mse_loss(value, batch["target"], reduction="sum")
        near = batch["value"] + (value - batch["value"]).clamp(-self.clip_value, self.clip_value)
        return torch.maximum((value - batch["target"]).square(), (near - batch["target"]).square()).sum()
