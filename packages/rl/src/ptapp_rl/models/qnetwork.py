"""The network of deep Q-learning: the value of each action, as a mean or as a distribution of the return."""

import numpy as np
import torch
from torch import Tensor, nn

from ptapp_rl.card import Card
from ptapp_rl.envs.forms import Discrete
from ptapp_rl.envs.spaces import Observations
from ptapp_rl.models.networks import Layers, encoder, only_permitted, width
from ptapp_rl.models.noisy import NoisyLinear


class QNetwork(nn.Module):
    """The value of each action; as a module, raw observations to the best actions.

    With more than one atom it predicts the distribution of the return, on atoms spread evenly over the range of values
    (C51). Where the card lacks an end of the range, `place` says it before training begins, and the weights have it
    later. With more than one quantile it predicts the quantiles of the return (QR-DQN), which need no range.
    """

    atoms: Tensor

    def __init__(self, card: Card) -> None:
        super().__init__()
        assert isinstance(card.action, Discrete)
        self.actions, self.start = card.action.n, card.action.start
        self._in_space = getattr(torch, card.action.dtype)
        self.categorical, self.count = card.atoms > 1, max(card.atoms, card.quantiles)
        self.encoder, self._masked = encoder(card.observation, card.normalise), card.masked
        sizes = [width(self.encoder), *card.hidden]
        if card.observation.kind == "image":
            sizes = sizes[:1]  # its encoder ends in a hidden layer
        self.hidden, size = Layers(sizes, card.activation), sizes[-1]
        linear = NoisyLinear if card.noisy else nn.Linear
        self.advantage = linear(size, self.actions * self.count)
        self.value = linear(size, self.count) if card.dueling else None
        self._noise_sizes = [head.noise_size for head in (self.advantage, self.value) if isinstance(head, NoisyLinear)]
        self.register_buffer("atoms", torch.zeros(card.atoms))
        self.range: tuple[float | None, float | None] = (card.value_min, card.value_max)
        if self.range[0] is not None and self.range[1] is not None:
            self.place(self.range[0], self.range[1])

    def forward(self, observations: Observations) -> Tensor:
        """Raw observations (N, ...) to the best actions (N,) as the environment counts them, of its dtype."""
        return self.in_space(self.values(observations).argmax(-1))

    def in_space(self, actions: Tensor) -> Tensor:
        """Actions from 0, int64 (N,), to those that the environment counts, (N,) of its dtype."""
        return (actions + self.start).to(self._in_space)

    def place(self, least: float, greatest: float) -> None:
        """Spreads the atoms over this range of returns."""
        self.atoms.copy_(torch.linspace(least, greatest, len(self.atoms)))

    @property
    def noise_size(self) -> int:
        """How many standard normal numbers a draw of the noisy weights takes; 0: no weight is noisy."""
        return sum(self._noise_sizes)

    def noise(self, random: np.random.Generator, rows: int) -> Tensor | None:
        """Standard normal numbers, float32 (rows, noise_size), for `logits`; None: no weight is noisy."""
        if not self.noise_size:
            return None
        return torch.from_numpy(random.standard_normal((rows, self.noise_size), dtype=np.float32))

    def logits(self, observations: Observations, noise: Tensor | None = None) -> Tensor:
        """Raw observations (N, ...) to the log-weights of the atoms, float (N, actions, atoms).

        With several quantiles they are the quantiles themselves, float (N, actions, quantiles), and else the values.

        Args:
            noise: of the noisy weights, float (N, noise_size) or (1, noise_size); None: their means.
        """
        features = self.hidden(self.encoder(observations))
        heads = [self.advantage] if self.value is None else [self.advantage, self.value]
        if noise is None:
            outputs = [head(features) for head in heads]
        else:
            parts = noise.split(self._noise_sizes, -1)
            outputs = [head(features, part) for head, part in zip(heads, parts, strict=True)]
        advantage = outputs[0].unflatten(-1, (self.actions, self.count))
        if self.value is None:
            return advantage
        return outputs[1].unsqueeze(1) + advantage - advantage.mean(1, keepdim=True)

    def values(self, observations: Observations, noise: Tensor | None = None) -> Tensor:
        """Raw observations (N, ...) to the expected return of each action, float (N, actions); `noise` as in `logits`.

        That of an action which a mask forbids is the least number.
        """
        return self.values_of(self.logits(observations, noise), observations)

    def values_of(self, logits: Tensor, observations: Observations) -> Tensor:
        """`values`, float (N, actions), from the `logits` of these observations, float (N, actions, count)."""
        values = self.expected(logits)
        return only_permitted(values, observations) if self._masked else values

    def expected(self, logits: Tensor) -> Tensor:
        """Expected returns, float (...), of what `logits` says of them, float (..., count)."""
        if self.categorical:
            return (logits.softmax(-1) * self.atoms).sum(-1)
        return logits.squeeze(-1) if self.count == 1 else logits.mean(-1)
