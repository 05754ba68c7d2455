"""Actor and critic: the network that A2C, PPO and REINFORCE share, and its distributions over actions.

A distribution is written out where it is used thousands of times a second: `sample` turns noise that was drawn for a
whole rollout into actions, `score` gives log-probability and entropy at once.
"""

from math import e, log, pi
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_rl.networks import Layers, encoder, orthogonal, width
from ptapp_rl.spaces import Observations


class Categorical(nn.Module):
    """One of n actions; parameters are n logits."""

    def __init__(self, features: int, card: dict[str, Any]) -> None:
        super().__init__()
        self.start = card["start"]
        self.linear = orthogonal(nn.Linear(features, card["n"]), 0.01)
        self.noise_size, self.action_shape, self.dtype = card["n"], (), torch.int64

    def forward(self, features: Tensor) -> Tensor:
        """(N, n) logits."""
        return self.linear(features)

    def noise(self, random: np.random.Generator, *shape: int) -> Tensor:
        """Gumbel noise, whose argmax with the logits is a draw from their softmax."""
        return _gumbel(random, *shape, self.noise_size)

    def sample(self, logits: Tensor, noise: Tensor) -> Tensor:
        """(N,) actions."""
        return (logits + noise).argmax(-1)

    def score(self, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of each action and entropy, (N,)."""
        log_p = logits.log_softmax(-1)
        return -functional.nll_loss(log_p, actions, reduction="none"), -(log_p.exp() * log_p).sum(-1)

    def mode(self, logits: Tensor) -> Tensor:
        """The likeliest actions, as the environment counts them."""
        return logits.argmax(-1) + self.start

    def to_environment(self, actions: Tensor) -> npt.NDArray[Any]:
        """What to step with."""
        return actions.numpy() + self.start if self.start else actions.numpy()


class MultiCategorical(nn.Module):
    """Several independent choices; parameters are the logits of all, side by side."""

    start: Tensor

    def __init__(self, features: int, card: dict[str, Any]) -> None:
        super().__init__()
        self.sizes: list[int] = card["nvec"]
        self.register_buffer("start", torch.tensor(card["start"]), persistent=False)
        self.linear = orthogonal(nn.Linear(features, sum(self.sizes)), 0.01)
        self.noise_size, self.action_shape, self.dtype = sum(self.sizes), (len(self.sizes),), torch.int64

    def forward(self, features: Tensor) -> Tensor:
        """(N, sum of sizes) logits."""
        return self.linear(features)

    def noise(self, random: np.random.Generator, *shape: int) -> Tensor:
        """Gumbel noise."""
        return _gumbel(random, *shape, self.noise_size)

    def sample(self, logits: Tensor, noise: Tensor) -> Tensor:
        """(N, choices) actions."""
        return torch.stack([part.argmax(-1) for part in (logits + noise).split(self.sizes, -1)], -1)

    def score(self, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Summed over the choices, (N,)."""
        parts = [part.log_softmax(-1) for part in logits.split(self.sizes, -1)]
        taken = [part.gather(-1, a.unsqueeze(-1)) for part, a in zip(parts, actions.unbind(-1), strict=True)]
        entropy = torch.stack([-(part.exp() * part).sum(-1) for part in parts], -1)
        return torch.cat(taken, -1).sum(-1), entropy.sum(-1)

    def mode(self, logits: Tensor) -> Tensor:
        """The likeliest of each choice."""
        return torch.stack([part.argmax(-1) for part in logits.split(self.sizes, -1)], -1) + self.start

    def to_environment(self, actions: Tensor) -> npt.NDArray[Any]:
        """What to step with."""
        return (actions + self.start.cpu()).numpy()


class Gaussian(nn.Module):
    """Real numbers of a normal distribution whose deviation is learnt and does not depend on the state.

    What was drawn is learnt from as it is; only the environment gets it clipped to the bounds of its actions.
    """

    low: Tensor
    high: Tensor

    def __init__(self, features: int, card: dict[str, Any]) -> None:
        super().__init__()
        self.shape = tuple(card["shape"])
        self.register_buffer("low", torch.tensor(card["low"], dtype=torch.float32), persistent=False)
        self.register_buffer("high", torch.tensor(card["high"], dtype=torch.float32), persistent=False)
        size = len(card["low"])
        self.linear = orthogonal(nn.Linear(features, size), 0.01)
        self.log_deviation = nn.Parameter(torch.zeros(size))
        self.noise_size, self.action_shape, self.dtype = size, (size,), torch.float32

    def forward(self, features: Tensor) -> Tensor:
        """(N, size) means."""
        return self.linear(features)

    def noise(self, random: np.random.Generator, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.from_numpy(random.standard_normal((*shape, self.noise_size), dtype=np.float32))

    def sample(self, means: Tensor, noise: Tensor) -> Tensor:
        """(N, size), not yet clipped."""
        return torch.addcmul(means, self.log_deviation.exp(), noise)

    def score(self, means: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Summed over the numbers, (N,)."""
        distance = (actions - means) * (-self.log_deviation).exp()
        log_p = -0.5 * distance.square().sum(-1) - self.log_deviation.sum() - 0.5 * log(2 * pi) * self.noise_size
        entropy = (self.log_deviation + 0.5 * log(2 * pi * e)).sum()
        return log_p, entropy.expand_as(log_p)

    def mode(self, means: Tensor) -> Tensor:
        """The means, within the bounds, in the shape of the space."""
        return torch.minimum(torch.maximum(means, self.low), self.high).unflatten(-1, self.shape)

    def to_environment(self, actions: Tensor) -> npt.NDArray[Any]:
        """Clipped to the bounds."""
        clipped = torch.minimum(torch.maximum(actions, self.low.cpu()), self.high.cpu())
        return clipped.unflatten(-1, self.shape).numpy()


def _gumbel(random: np.random.Generator, *shape: int) -> Tensor:
    uniform = torch.from_numpy(random.random(shape, dtype=np.float32))
    return uniform.clamp_(1e-7, 1 - 1e-7).log_().neg_().log_().neg_()


Head = Categorical | MultiCategorical | Gaussian
HEADS: dict[str, type[Head]] = {"discrete": Categorical, "multidiscrete": MultiCategorical, "box": Gaussian}


class ActorCritic(nn.Module):
    """A policy and the value of states. As a module it is the policy alone: raw observations to its likeliest actions.

    Vectors have a network each for actor and critic; an image's convolutions, the costly part, are shared.
    """

    def __init__(self, card: dict[str, Any]) -> None:
        super().__init__()
        self.encoder = encoder(card["observation"], card["normalise"])
        sizes, activation = [width(self.encoder), *card["hidden"]], card["activation"]
        if card["observation"]["kind"] == "image":
            sizes = sizes[:1]  # its encoder ends in a hidden layer
        self.actor = Layers(sizes, activation)
        self.critic = Layers(sizes, activation)
        orthogonal(self)
        self.head: Head = HEADS[card["action"]["kind"]](sizes[-1], card["action"])
        self.value = orthogonal(nn.Linear(sizes[-1], 1), 1.0)

    def forward(self, observations: Observations) -> Tensor:
        """(N, ...) raw observations -> (N, ...) the likeliest actions, within bounds."""
        return self.head.mode(self.parameters_of(observations))

    def parameters_of(self, observations: Observations) -> Tensor:
        """The parameters of the distribution over actions, (N, P)."""
        return self.head(self.actor(self.encoder(observations)))

    def values(self, observations: Observations) -> Tensor:
        """The values, (N,)."""
        return self.value(self.critic(self.encoder(observations))).squeeze(-1)

    def both(self, observations: Observations) -> tuple[Tensor, Tensor]:
        """The distribution's parameters, (N, P), and the values, (N,)."""
        features = self.encoder(observations)
        return self.head(self.actor(features)), self.value(self.critic(features)).squeeze(-1)
