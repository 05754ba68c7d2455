"""Actor and critic: the network that A2C, PPO and REINFORCE share, and its distributions over actions.

A distribution is written out where it is used thousands of times a second: `sample` turns noise that was drawn for a
whole rollout into actions, `score` gives log-probability and entropy at once. Both speak of actions as the policy
counts them: from 0, and within -1 and 1 where an action is bounded. `in_space` makes them the environment's.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import e, inf, log, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_rl.card import Card
from ptapp_rl.envs.forms import Action, Box, Choices, Discrete
from ptapp_rl.envs.spaces import Observations, unscaled
from ptapp_rl.models.networks import Layers, encoder, only_permitted, orthogonal, width


class Categorical(nn.Module):
    """One of n actions; parameters are n logits."""

    def __init__(self, features: int, form: Discrete) -> None:
        super().__init__()
        self.start, self._in_space = form.start, getattr(torch, form.dtype)
        self.linear = orthogonal(nn.Linear(features, form.n), 0.01)
        self.noise_size, self.action_shape, self.dtype = form.n, (), torch.int64

    def forward(self, features: Tensor) -> Tensor:
        """Features, float (N, features), to logits, float (N, n)."""
        return self.linear(features)

    def noise(self, random: np.random.Generator, *shape: int) -> Tensor:
        """Gumbel noise (N, actions), float32, whose argmax with the logits is a draw from their softmax."""
        return _gumbel(random, *shape, self.noise_size)

    def sample(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Logits and noise, float (N, n), to actions from 0, int64 (N,)."""
        return (logits + noise).argmax(-1)

    def score(self, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of each action, int64 (N,), and entropy of each row of logits (N, n): float (N,) both."""
        log_p = logits.log_softmax(-1)
        return -functional.nll_loss(log_p, actions, reduction="none"), -(log_p.exp() * log_p).sum(-1)

    def likeliest(self, logits: Tensor) -> Tensor:
        """Logits, float (N, n), to the likeliest actions, int64 (N,)."""
        return logits.argmax(-1)

    def in_space(self, actions: Tensor) -> Tensor:
        """Actions from 0, int64 (N,), to those that the environment counts, (N,) of its dtype."""
        return (actions + self.start).to(self._in_space)


class MultiCategorical(nn.Module):
    """Several independent choices; parameters are the logits of all, side by side."""

    start: Tensor

    def __init__(self, features: int, form: Choices) -> None:
        super().__init__()
        self.sizes = list(form.nvec)
        self.shape, self._in_space = form.shape, getattr(torch, form.dtype)
        self.register_buffer("start", torch.tensor(form.start), persistent=False)
        self.linear = orthogonal(nn.Linear(features, sum(self.sizes)), 0.01)
        self.noise_size, self.action_shape, self.dtype = sum(self.sizes), (len(self.sizes),), torch.int64

    def forward(self, features: Tensor) -> Tensor:
        """Features, float (N, features), to the logits of all choices, float (N, sum of sizes)."""
        return self.linear(features)

    def noise(self, random: np.random.Generator, *shape: int) -> Tensor:
        """Gumbel noise (N, actions of all parts), float32."""
        return _gumbel(random, *shape, self.noise_size)

    def sample(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Logits and noise, float (N, sum of sizes), to actions from 0, int64 (N, choices)."""
        return torch.stack([part.argmax(-1) for part in (logits + noise).split(self.sizes, -1)], -1)

    def score(self, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of actions, int64 (N, choices), and entropy, both summed over the choices, float (N,)."""
        parts = [part.log_softmax(-1) for part in logits.split(self.sizes, -1)]
        taken = [part.gather(-1, a.unsqueeze(-1)) for part, a in zip(parts, actions.unbind(-1), strict=True)]
        entropy = torch.stack([-(part.exp() * part).sum(-1) for part in parts], -1)
        return torch.cat(taken, -1).sum(-1), entropy.sum(-1)

    def likeliest(self, logits: Tensor) -> Tensor:
        """Logits, float (N, sum of sizes), to the likeliest value of each choice, int64 (N, choices)."""
        return torch.stack([part.argmax(-1) for part in logits.split(self.sizes, -1)], -1)

    def in_space(self, actions: Tensor) -> Tensor:
        """Actions from 0, int64 (N, choices), to those of the environment, (N, ...) of its dtype and shape."""
        return (actions + self.start).to(self._in_space).reshape(-1, *self.shape)


class Bounded(nn.Module):
    """Actions of real numbers: a number with two finite bounds is -1 and 1 at these within a policy.

    Any other number is as the environment has it.
    """

    low: Tensor
    high: Tensor
    centre: Tensor
    reach: Tensor
    limit: Tensor

    def __init__(self, form: Box) -> None:
        super().__init__()
        self.shape = form.shape
        low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (form.low, form.high))
        free = torch.zeros(len(low), dtype=torch.bool)
        free[unscaled(form)] = True
        space = getattr(torch, form.dtype)
        wide = torch.promote_types(space, torch.float32)
        buffers = {
            "low": low.to(space),
            "high": high.to(space),
            "centre": (high / 2 + low / 2).masked_fill(free, 0.0).to(wide),
            "reach": (high / 2 - low / 2).masked_fill(free, 1.0).to(wide),
            "limit": torch.ones_like(low).masked_fill(free, inf).to(wide),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)
        size = len(low)
        self.noise_size, self.action_shape, self.dtype = size, (size,), torch.float32

    def noise(self, random: np.random.Generator, *shape: int) -> Tensor:
        """Standard normal numbers (N, actions), float32."""
        return torch.from_numpy(random.standard_normal((*shape, self.noise_size), dtype=np.float32))

    def in_space(self, actions: Tensor) -> Tensor:
        """Actions, float (N, size), to the bounds of the space, (N, ...) of its dtype and shape."""
        scaled = torch.minimum(torch.maximum(actions.to(self.reach.dtype), -self.limit), self.limit)
        numbers = torch.addcmul(self.centre, self.reach, scaled).to(self.low.dtype)
        return torch.minimum(torch.maximum(numbers, self.low), self.high).reshape(-1, *self.shape)


class Gaussian(Bounded):
    """Real numbers of a normal distribution whose deviation is learned and does not depend on the state.

    What was drawn is learned from as it is; only the environment gets it clipped to the bounds.
    """

    def __init__(self, features: int, form: Box) -> None:
        super().__init__(form)
        self.linear = orthogonal(nn.Linear(features, self.noise_size), 0.01)
        self.log_deviation = nn.Parameter(torch.zeros(self.noise_size))

    def forward(self, features: Tensor) -> Tensor:
        """Features, float (N, features), to means, float (N, size)."""
        return self.linear(features)

    def sample(self, means: Tensor, noise: Tensor) -> Tensor:
        """Means and noise, float (N, size), to actions, float32 (N, size), not yet clipped."""
        return torch.addcmul(means, self.log_deviation.exp(), noise)

    def score(self, means: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-density of actions, float (N, size), and entropy, both summed over the numbers, float (N,)."""
        distance = (actions - means) * (-self.log_deviation).exp()
        log_p = -0.5 * distance.square().sum(-1) - self.log_deviation.sum() - 0.5 * log(2 * pi) * self.noise_size
        entropy = (self.log_deviation + 0.5 * log(2 * pi * e)).sum()
        return log_p, entropy.expand_as(log_p)

    def likeliest(self, means: Tensor) -> Tensor:
        """Means, float (N, size), which are the likeliest actions, not yet clipped."""
        return means


def _gumbel(random: np.random.Generator, *shape: int) -> Tensor:
    uniform = torch.from_numpy(random.random(shape, dtype=np.float32))
    return uniform.clamp_(1e-7, 1 - 1e-7).log_().neg_().log_().neg_()


Head = Categorical | MultiCategorical | Gaussian


def head_of(action: Action, features: int) -> Head:
    """The distribution of actions of this form, from so many features."""
    match action:
        case Discrete():
            return Categorical(features, action)
        case Choices():
            return MultiCategorical(features, action)
        case Box():
            return Gaussian(features, action)


class Networks(nn.Module, ABC):
    """The networks of an actor-critic: an encoder of observations, layers for the policy and for the value of states.

    Vectors have layers each for actor and critic; an image's convolutions, the costly part, are shared. Where
    observations have a mask of actions, the distribution is over those that it permits. The layers take `size` numbers,
    or those that the encoder gives.
    """

    def __init__(self, card: Card, size: int | None = None) -> None:
        super().__init__()
        self.encoder, self._masked = encoder(card.observation, card.normalise), card.masked
        sizes, activation = [size or width(self.encoder), *card.hidden], card.activation
        if card.observation.kind == "image":
            sizes = sizes[:1]  # its encoder ends in a hidden layer
        self.actor = Layers(sizes, activation)
        self.critic = Layers(sizes, activation)
        orthogonal(self)
        self.head = head_of(card.action, sizes[-1])
        self.value = orthogonal(nn.Linear(sizes[-1], 1), 1.0)

    @abstractmethod
    def both(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """The parameters of the distribution, float (n, P), and the values, float (n,), of the n rows of a batch."""

    def distribution(self, features: Tensor, observations: Observations) -> Tensor:
        """Parameters of distributions over actions, float (N, P), from features, float (N, F), of observations."""
        parameters = self.head(self.actor(features))
        return only_permitted(parameters, observations) if self._masked else parameters

    def worth(self, features: Tensor) -> Tensor:
        """From the features of states, float (N, F), to their values, float (N,)."""
        return self.value(self.critic(features)).squeeze(-1)

    def drawn_from(self, parameters: Tensor, random: np.random.Generator) -> Tensor:
        """Actions drawn from distributions, float (N, P): (N, ...) of the dtype that the environment takes."""
        noise = self.head.noise(random, len(parameters)).to(parameters.device)
        return self.head.in_space(self.head.sample(parameters, noise))

    def likeliest_of(self, parameters: Tensor) -> Tensor:
        """The likeliest actions of distributions, float (N, P): (N, ...) of the dtype that the environment takes."""
        return self.head.in_space(self.head.likeliest(parameters))


class ActorCritic(Networks):
    """A policy and the value of states. As a module it is the policy: raw observations to the likeliest actions."""

    def forward(self, observations: Observations) -> Tensor:
        """Raw observations (N, ...) to the likeliest actions, (N, ...) of the dtype that the environment takes."""
        return self.likeliest_of(self.parameters_of(observations))

    def drawn(self, observations: Observations, random: np.random.Generator) -> Tensor:
        """Raw observations (N, ...) to actions drawn from the policy, of the shape and dtype of `forward`."""
        return self.drawn_from(self.parameters_of(observations), random)

    def parameters_of(self, observations: Observations) -> Tensor:
        """Raw observations (N, ...) to the parameters of the distribution over actions, float (N, P)."""
        return self.distribution(self.encoder(observations), observations)

    def both(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Parameters, float (n, P), and values, float (n,), of rows that have a raw `observation`, (n, ...), each."""
        features = self.encoder(batch["observation"])
        return self.distribution(features, batch["observation"]), self.worth(features)
