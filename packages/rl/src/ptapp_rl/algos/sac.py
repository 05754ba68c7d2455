"""Soft actor-critic (Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications"), with its own temperature.

The policy maximises the return plus its entropy times a temperature, so it explores by itself. An action is the
hyperbolic tangent of a normal number, which keeps it within its bounds. The critics are two, of which the lesser is
taken, and the temperature is learned so that the entropy stays at a target of minus one for each number of an action.
"""

from copy import deepcopy
from math import log, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.task import Progress, Task
from ptapp_rl.card import Card
from ptapp_rl.envs.forms import Box
from ptapp_rl.envs.spaces import Observations
from ptapp_rl.models.actor import Bounded
from ptapp_rl.models.continuous import Critics
from ptapp_rl.models.networks import Layers, follow, width

_LEAST, _GREATEST = -20.0, 2.0  # log-deviations, as in the authors' code


class SoftPolicy(nn.Module):
    """A policy whose deviation depends on the state, two critics, and the temperature.

    As a module it is the policy alone: raw observations to the actions of the mean.
    """

    def __init__(self, card: Card) -> None:
        super().__init__()
        assert isinstance(card.action, Box)
        self.critics = Critics(card, count=2)
        sizes = [width(self.encoder), *card.hidden]
        self.actor = Layers(sizes, card.activation)
        self.head = Bounded(card.action)
        self.output = nn.Linear(sizes[-1], 2 * self.head.noise_size)
        self.log_temperature = nn.Parameter(torch.zeros(()))

    @property
    def encoder(self) -> nn.Module:
        """Raw observations (N, ...) to features, float (N, F)."""
        return self.critics.encoder

    def forward(self, observations: Observations) -> Tensor:
        """Raw observations (N, ...) to the actions of the mean, (N, ...) of the dtype that the environment takes."""
        mean, _ = self.parameters_of(self.encoder(observations))
        return self.head.in_space(mean.tanh())

    def drawn(self, observations: Observations, random: np.random.Generator) -> Tensor:
        """Raw observations (N, ...) to actions drawn from the policy, of the shape and dtype of `forward`."""
        features = self.encoder(observations)
        noise = self.head.noise(random, len(features)).to(features.device)
        return self.head.in_space(self.sample(features, noise)[0])

    def parameters_of(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features, float (N, F), to means and log-deviations before the hyperbolic tangent, float (N, A) each."""
        mean, log_deviation = self.output(self.actor(features.detach())).chunk(2, -1)
        return mean, log_deviation.clamp(_LEAST, _GREATEST)

    def sample(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Features, float (N, F), and noise, float (N, A), to actions within -1 and 1, float (N, A), and log pi, (N,).

        log pi(a) = log N(u; mean, deviation) - sum log(1 - tanh(u)^2), where a = tanh(u) (appendix C of the paper).
        """
        mean, log_deviation = self.parameters_of(features)
        u = torch.addcmul(mean, log_deviation.exp(), noise)
        normal = -0.5 * noise.square() - log_deviation - 0.5 * log(2 * pi)
        correction = 2 * (log(2) - u - functional.softplus(-2 * u))  # log(1 - tanh(u)^2), also where tanh(u) is 1
        return u.tanh(), (normal - correction).sum(-1)


class SAC(Task):
    """sum over i of (Q_i(s, a) - y)^2 / 2, plus t log pi(b) - min_i Q_i(s, b), plus the temperature's loss.

    y = r + gamma (min_i Q'_i(s', a') - t log pi(a')), with a' and b drawn from the policy at s' and s, and the
    temperature t. Its loss is -log t (log pi(b) + H), with the target H of the entropy. Each term trains its own part
    alone (critics, policy, temperature), so one optimizer serves all three; they move at once, each by the others'
    weights before the step.

    Args:
        tau: share by which the target critics follow each step.
    """

    model: SoftPolicy
    noises: tuple[str, ...] = ("noise", "noise_following")

    def __init__(self, model: SoftPolicy, *, tau: float = 0.005) -> None:
        super().__init__()
        self.model, self.target = model, deepcopy(model.critics).requires_grad_(False)
        self.tau, self.target_entropy = tau, -float(model.head.noise_size)

    def explore(self, observations: Observations, noise: Tensor) -> Tensor:
        """See `experience.offpolicy.Explorer`: raw observations and float32 (N, A) to actions, (N, A)."""
        return self.model.sample(self.model.encoder(observations), noise)[0]

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, int, dict[str, Tensor]]:
        """The loss of a batch of `Replay.sample` with its `noises`, a float32 scalar; units are its transitions."""
        model = self.model
        temperature = model.log_temperature.detach().exp()
        with torch.no_grad():
            next_action, next_log_prob = model.sample(model.encoder(batch["following"]), batch["noise_following"])
            least = self.target(self.target.encoder(batch["following"]), next_action).amin(0)
            target = torch.addcmul(batch["reward"], batch["factor"], least - temperature * next_log_prob)
        features = model.encoder(batch["observation"])
        values = model.critics(features, batch["action"])
        error = functional.mse_loss(values, target.expand_as(values), reduction="sum")
        action, log_prob = model.sample(features, batch["noise"])
        policy = (temperature * log_prob - model.critics.judge(features, action).amin(0)).sum()
        heat = -model.log_temperature * (log_prob.detach() + self.target_entropy).sum()
        figures = {
            "value_error": error.detach() / len(values),
            "value": values[0].detach().sum(),
            "entropy": -log_prob.detach().sum(),
            "temperature": temperature * len(target),
        }
        return 0.5 * error + policy + heat, len(target), figures

    def after_step(self, progress: Progress) -> None:
        """Moves the target critics towards the weights."""
        follow(self.target, self.model.critics, self.tau)
