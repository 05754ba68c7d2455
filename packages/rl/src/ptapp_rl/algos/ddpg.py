"""Deep deterministic policy gradient (Lillicrap et al. 2016): Q-learning for actions that are real numbers.

The critic learns Q(s, a) from replay. The policy mu(s) stands for the action that maximises it, and climbs the critic's
gradient. Exploration adds normal noise to mu(s), as Fujimoto et al. (2018) do, in place of a correlated process.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ptapp_core.task import Progress, Task
from ptapp_rl.envs.spaces import Observations
from ptapp_rl.models.continuous import Deterministic
from ptapp_rl.models.networks import follow


class DDPG(Task):
    """(Q(s, a) - y)^2 - Q(s, mu(s)), where y = r + gamma Q'(s', mu'(s')) of the target networks.

    The first term trains the critic alone, the second the policy alone, so one optimizer serves both.

    Args:
        tau: share by which the target networks follow each step.
        action_noise: deviation of the noise of exploration, where the bounds of an action are -1 and 1.
    """

    model: Deterministic
    noises: tuple[str, ...] = ()

    def __init__(self, model: Deterministic, *, tau: float = 0.005, action_noise: float = 0.1) -> None:
        super().__init__()
        self.model, self.target = model, deepcopy(model).requires_grad_(False)
        self.tau, self.action_noise = tau, action_noise

    def explore(self, observations: Observations, noise: Tensor) -> Tensor:
        """See `experience.offpolicy.Explorer`: raw observations and float32 (N, A) to actions, (N, A)."""
        return self.model.explore(observations, self.action_noise * noise)

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, int, dict[str, Tensor]]:
        """The loss of a batch of `Replay.sample`, a float32 scalar; units are its transitions."""
        with torch.no_grad():
            following = self.target.encoder(batch["following"])
            next_value = self.target.critics(following, self.target.act(following))[0]
            target = torch.addcmul(batch["reward"], batch["factor"], next_value)
        features = self.model.encoder(batch["observation"])
        value = self.model.critics(features, batch["action"])[0]
        error = functional.mse_loss(value, target, reduction="sum")
        gain = self.model.critics.judge(features, self.model.act(features)).sum()
        return error - gain, len(value), {"value_error": error.detach(), "value": value.detach().sum()}

    def after_step(self, progress: Progress) -> None:
        """Moves the target networks towards the weights."""
        follow(self.target, self.model, self.tau)
