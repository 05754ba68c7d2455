"""Twin delayed deep deterministic policy gradient, TD3 (Fujimoto et al. 2018).

DDPG overestimates values, and its policy exploits that. TD3 takes the lesser of two critics, adds clipped noise to the
action that the target is taken at, and lets the policy and the targets move at every other step only.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.task import Progress, Task
from ptapp_rl.envs.spaces import Observations
from ptapp_rl.models.continuous import Deterministic
from ptapp_rl.models.networks import follow

_MOST_NOISE = 0.5  # c of the paper


class TD3(Task):
    """sum over i of (Q_i(s, a) - y)^2, at every `policy_every`-th step less Q_1(s, mu(s)).

    y = r + gamma min_i Q'_i(s', a'), where a' = mu'(s') plus normal noise of deviation `target_noise`, clipped to 0.5
    (algorithm 1 of the paper). The first terms train the critics alone, the last the policy alone.

    Args:
        tau: share by which the target networks follow, whenever the policy learns.
        action_noise: deviation of the noise of exploration, where the bounds of an action are -1 and 1.
        target_noise: deviation of the noise in the target.
        policy_every: steps of the critics for each step of the policy.
    """

    model: Deterministic
    step: Tensor
    noises: tuple[str, ...] = ("noise_following",)

    def __init__(
        self,
        model: Deterministic,
        *,
        tau: float = 0.005,
        action_noise: float = 0.1,
        target_noise: float = 0.2,
        policy_every: int = 2,
    ) -> None:
        super().__init__()
        self.model, self.target = model, deepcopy(model).requires_grad_(False)
        self.tau, self.policy_every = tau, policy_every
        self.action_noise, self.target_noise = action_noise, target_noise
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))  # steps done, which a resumed job must know

    def explore(self, observations: Observations, noise: Tensor) -> Tensor:
        """See `experience.offpolicy.Explorer`: raw observations and float32 (N, A) to actions, (N, A)."""
        return self.model.explore(observations, self.action_noise * noise)

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, int, dict[str, Tensor]]:
        """The loss of a batch of `Replay.sample` with its `noises`, a float32 scalar; units are its transitions."""
        with torch.no_grad():
            following = self.target.encoder(batch["following"])
            noise = (self.target_noise * batch["noise_following"]).clamp(-_MOST_NOISE, _MOST_NOISE)
            next_action = (self.target.act(following) + noise).clamp(-1, 1)
            least = self.target.critics(following, next_action).amin(0)
            target = torch.addcmul(batch["reward"], batch["factor"], least)
        features = self.model.encoder(batch["observation"])
        values = self.model.critics(features, batch["action"])
        error = functional.mse_loss(values, target.expand_as(values), reduction="sum")
        figures = {"value_error": error.detach() / len(values), "value": values[0].detach().sum()}
        if self.resting:
            return error, len(target), figures
        gain = self.model.critics.judge(features, self.model.act(features))[0].sum()
        return error - gain, len(target), figures

    @property
    def resting(self) -> list[nn.Parameter]:
        """The policy's weights, of any shape, in the steps that train the critics alone."""
        return self.model.policy() if (int(self.step) + 1) % self.policy_every else []

    def after_step(self, progress: Progress) -> None:
        """Moves the target networks towards the weights, where the policy learned."""
        self.step.fill_(progress.step)
        if progress.step % self.policy_every == 0:
            follow(self.target, self.model, self.tau)
