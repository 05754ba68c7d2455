"""Critics of actions that are real numbers, and the deterministic policy that TD3 and DDPG share.

Within a policy an action is within -1 and 1, which are the bounds of its space.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ptapp_rl.card import Card
from ptapp_rl.envs.forms import Box
from ptapp_rl.envs.spaces import Observations
from ptapp_rl.models.actor import Bounded
from ptapp_rl.models.networks import Layers, encoder, width


class Critics(nn.Module):
    """The values Q(s, a) by `count` networks, and the encoder of observations, which their loss alone trains."""

    def __init__(self, card: Card, count: int) -> None:
        super().__init__()
        assert isinstance(card.action, Box)
        self.encoder = encoder(card.observation, card.normalise)
        sizes = [width(self.encoder) + len(card.action.low), *card.hidden]
        self.bodies = nn.ModuleList(Layers(sizes, card.activation) for _ in range(count))
        self.heads = nn.ModuleList(nn.Linear(sizes[-1], 1) for _ in range(count))

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        """Features of observations, float (N, F), and actions, float (N, A), to values, float (count, N)."""
        both = torch.cat([features, actions], -1)
        pairs = zip(self.bodies, self.heads, strict=True)
        return torch.stack([head(body(both)).squeeze(-1) for body, head in pairs])

    def judge(self, features: Tensor, actions: Tensor) -> Tensor:
        """The same values, float (count, N), as a function of the actions alone.

        The actor's loss goes through them, and must not train the critics.
        """
        weights = {name: parameter.detach() for name, parameter in self.named_parameters()}
        values: Tensor = functional_call(self, weights, (features.detach(), actions))
        return values


class Deterministic(nn.Module):
    """A policy mu(s) and its critics. As a module it is the policy alone: raw observations to actions.

    Args:
        critics: how many there are.
    """

    def __init__(self, card: Card, critics: int) -> None:
        super().__init__()
        assert isinstance(card.action, Box)
        self.critics = Critics(card, critics)
        sizes = [width(self.encoder), *card.hidden]
        self.actor = Layers(sizes, card.activation)
        self.head = Bounded(card.action)
        self.output = nn.Linear(sizes[-1], self.head.noise_size)

    @property
    def encoder(self) -> nn.Module:
        """Raw observations (N, ...) to features, float (N, F)."""
        return self.critics.encoder

    def forward(self, observations: Observations) -> Tensor:
        """Raw observations (N, ...) to actions, (N, ...) of the dtype that the environment takes."""
        return self.head.in_space(self.act(self.encoder(observations)))

    def act(self, features: Tensor) -> Tensor:
        """Features, float (N, F), to actions within -1 and 1, float (N, A); they do not train the encoder."""
        actions: Tensor = self.output(self.actor(features.detach())).tanh()
        return actions

    def explore(self, observations: Observations, noise: Tensor) -> Tensor:
        """Raw observations (N, ...) and noise, float (N, A), which is added, to actions within -1 and 1, (N, A)."""
        return (self.act(self.encoder(observations)) + noise).clamp(-1, 1)

    def policy(self) -> list[nn.Parameter]:
        """The weights of the policy mu, of any shape."""
        return [*self.actor.parameters(), *self.output.parameters()]
