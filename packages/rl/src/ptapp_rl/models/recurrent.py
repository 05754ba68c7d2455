"""An actor-critic that remembers: an LSTM between the encoder of observations and the layers of actor and critic.

Its state is float32 (N, 2, units), of N episodes that are played side by side: the LSTM's latest output and its cell.
It is zero where an episode begins, in playing and in learning. What is learned from are sequences of an episode, from
its beginning or from a state that was stored when it was played, which has no gradient (Hausknecht and Stone 2015).
Weights begin as in the recurrent PPO of Huang et al. 2022: orthogonal, without a bias.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ptapp_rl.card import Card
from ptapp_rl.envs.spaces import Observations, parts_of
from ptapp_rl.models.actor import Networks
from ptapp_rl.models.networks import width


class Recurrent(Networks):
    """A policy with a memory. As a module it is one step of the policy: observations and states to actions and states.

    Actor and critic share the LSTM.
    """

    def __init__(self, card: Card) -> None:
        assert card.lstm is not None
        super().__init__(card, card.lstm)
        self.units = card.lstm
        self.lstm = nn.LSTM(width(self.encoder), card.lstm)
        for parameter in self.lstm.parameters():
            if parameter.ndim == 2:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, observations: Observations, state: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest actions, (N, ...) of the dtype that the environment takes, and the states after them.

        Args:
            observations: raw, (N, ...).
            state: float32 (N, 2, units), after the observations before.
        """
        features, state = self.step(observations, state)
        return self.likeliest_of(self.distribution(features, observations)), state

    def drawn(self, observations: Observations, state: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """As `forward`, with actions drawn from the policy."""
        features, state = self.step(observations, state)
        return self.drawn_from(self.distribution(features, observations), random), state

    def step(self, observations: Observations, state: Tensor) -> tuple[Tensor, Tensor]:
        """Raw observations (N, ...) and states, float32 (N, 2, units), to features, float (N, units), and states."""
        weights = list(self.lstm.parameters())  # of inputs, of states, and the two biases
        hidden, cell = torch.lstm_cell(self.encoder(observations), state.unbind(1), *weights)
        return hidden, torch.stack([hidden, cell], 1)

    def both(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """The parameters of the distribution, float (n, P), and the values, float (n,), of the n rows of a batch.

        Rows are sequences one after the other, each in the order of time: `observation`, raw (n, ...); `begins`,
        bool (n,), whether a row is the first of its sequence, as the first of all is; and `state`, float32 (n, 2,
        units), of which those of the first rows count.
        """
        observations = batch["observation"]
        features = self._over_time(self.encoder(observations), batch["state"], batch["begins"])
        return self.distribution(features, observations), self.worth(features)

    def _over_time(self, features: Tensor, state: Tensor, begins: Tensor) -> Tensor:
        """Features, float (n, F), of sequences one after the other to what the LSTM makes of them, float (n, units).

        The sequences go through it side by side, filled up behind their end, which no output before it can see.
        """
        first, sequence = begins.nonzero().squeeze(1), begins.cumsum(0) - 1
        time = torch.arange(len(features), device=features.device) - first[sequence]
        filled = features.new_zeros(int(time.max()) + 1, len(first), features.shape[1])
        hidden, cell = state[first].to(features.dtype).unbind(1)
        output, _ = self.lstm(filled.index_put((time, sequence), features), (hidden[None], cell[None]))
        return output[time, sequence]


class Remembering:
    """A recurrent policy at play: it keeps the state of its episodes from one call to the next.

    Its actions are the likeliest, or drawn by a generator, if there is one.
    """

    def __init__(self, model: Recurrent, random: np.random.Generator | None = None) -> None:
        self._model, self._random = model, random
        self._state: Tensor | None = None

    def __call__(self, observations: Observations) -> Tensor:
        """Raw observations (N, ...), the next ones of the same N episodes, to actions, (N, ...)."""
        state = self.state_for(observations)
        if self._random is None:
            actions, self._state = self._model(observations, state)
        else:
            actions, self._state = self._model.drawn(observations, state, self._random)
        return actions

    def state_for(self, observations: Observations) -> Tensor:
        """The states that the next call begins with, float32 (N, 2, units), for observations (N, ...)."""
        if self._state is None:
            first = next(parts_of(observations))
            self._state = torch.zeros(len(first), 2, self._model.units, device=first.device)
        return self._state

    def forget(self, ended: npt.NDArray[np.bool_] | None = None) -> None:
        """Begins new episodes: where they `ended`, bool (N,), or of any number in place of all."""
        if ended is None:
            self._state = None
        elif self._state is not None:
            self._state[torch.from_numpy(ended)] = 0.0
