"""Deep Q-learning (Mnih et al. 2015) and the parts of Rainbow (Hessel et al. 2018) that can be had one by one.

double (van Hasselt et al. 2016), dueling (Wang et al. 2016), n-step returns, prioritised replay (Schaul et al. 2016)
and the distribution of returns, C51 (Bellemare et al. 2017).
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.runtime import Runtime
from ptapp_core.task import Progress, Task
from ptapp_rl.capture import decode_generator, encode_generator
from ptapp_rl.networks import Layers, encoder, update_statistics, width
from ptapp_rl.normalise import RunningNorm
from ptapp_rl.replay import Replay
from ptapp_rl.spaces import Observations, each
from ptapp_rl.vector import Environments


class QNetwork(nn.Module):
    """The value of each action; as a module, raw observations to the best actions.

    With more than one atom it tells the distribution of the return, on atoms spread evenly over the range of values.
    """

    atoms: Tensor

    def __init__(self, card: dict[str, Any]) -> None:
        super().__init__()
        self.actions, self.start = card["action"]["n"], card["action"]["start"]
        self.count, self.dueling = card["atoms"], card["dueling"]
        self.encoder = encoder(card["observation"], card["normalise"])
        sizes = [width(self.encoder), *card["hidden"]]
        self.hidden = Layers(sizes[:1] if card["observation"]["kind"] == "image" else sizes, card["activation"])
        size = sizes[0] if card["observation"]["kind"] == "image" else sizes[-1]
        self.advantage = nn.Linear(size, self.actions * self.count)
        self.value = nn.Linear(size, self.count) if self.dueling else None
        self.register_buffer("atoms", torch.linspace(card["value_min"], card["value_max"], self.count))

    def forward(self, observations: Observations) -> Tensor:
        """(N, ...) raw observations -> (N,) the best actions, as the environment counts them."""
        return self.values(observations).argmax(-1) + self.start

    def logits(self, observations: Observations) -> Tensor:
        """(N, actions, atoms): log-weights of the atoms, or with one atom the value itself."""
        features = self.hidden(self.encoder(observations))
        advantage = self.advantage(features).unflatten(-1, (self.actions, self.count))
        if self.value is None:
            return advantage
        return self.value(features).unsqueeze(1) + advantage - advantage.mean(1, keepdim=True)

    def values(self, observations: Observations) -> Tensor:
        """(N, actions): the expected return of each action."""
        logits = self.logits(observations)
        return logits.squeeze(-1) if self.count == 1 else (logits.softmax(-1) * self.atoms).sum(-1)


class DQN(Task):
    """The temporal difference error under Huber's loss, or the cross-entropy to the projected distribution (C51).

    Args:
        double: the learning network chooses the next action, the target network values it.
        target_every: updates between copies to the target network.
        tau: share by which the target network follows each update instead (Polyak).
    """

    model: QNetwork

    def __init__(
        self, model: QNetwork, *, double: bool = True, target_every: int = 200, tau: float | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.target = deepcopy(model).requires_grad_(False)
        self.double_q, self.target_every, self.tau = double, target_every, tau
        self.errors = torch.zeros(0)
        """Absolute error of each transition of the latest batch, which prioritised replay draws by."""

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, int, dict[str, Tensor]]:
        """A batch of `Replay.sample`."""
        action = batch["action"]
        logits = self.model.logits(batch["observation"])
        taken = logits.gather(1, action.view(-1, 1, 1).expand(-1, 1, logits.shape[2])).squeeze(1)
        with torch.no_grad():
            target = self._target(batch)
        if self.model.count == 1:
            losses = functional.smooth_l1_loss(taken.squeeze(1), target, reduction="none")
            self.errors = (taken.detach().squeeze(1) - target).abs()
            value = taken.detach().sum()
        else:
            losses = -(target * taken.log_softmax(-1)).sum(-1)
            self.errors = losses.detach()
            value = (taken.detach().softmax(-1) @ self.model.atoms).sum()
        loss = (losses * batch["weight"]).sum() if "weight" in batch else losses.sum()
        return loss, len(action), {"value": value, "return": batch["return"].sum()}

    def after_step(self, progress: Progress) -> None:
        """The target network follows."""
        if self.tau is None and progress.step % self.target_every:
            return
        with torch.no_grad():
            mine: list[Tensor] = list(self.target.parameters())
            theirs: list[Tensor] = list(self.model.parameters())
            torch._foreach_lerp_(mine, theirs, 1.0 if self.tau is None else self.tau)
            for copied, buffer in zip(self.target.buffers(), self.model.buffers(), strict=True):
                copied.copy_(buffer)

    def _target(self, batch: dict[str, Any]) -> Tensor:
        """r + factor Q'(s', a'), (B,); or its distribution on the atoms, (B, atoms)."""
        following = batch["following"]
        logits = self.target.logits(following)
        if self.model.count == 1:
            values = logits.squeeze(-1)
            if self.double_q:
                best = values.gather(1, self.model.values(following).argmax(1, keepdim=True)).squeeze(1)
            else:
                best = values.amax(1)
            return torch.addcmul(batch["reward"], batch["factor"], best)
        weights = logits.softmax(-1)
        judge = self.model.values(following) if self.double_q else (weights * self.model.atoms).sum(-1)
        best = weights[torch.arange(len(weights), device=weights.device), judge.argmax(1)]
        return project(best, batch["reward"], batch["factor"], self.model.atoms)


def project(weights: Tensor, rewards: Tensor, factors: Tensor, atoms: Tensor) -> Tensor:
    """The distribution of r + factor Z on the atoms of Z, each weight shared by the two atoms that it falls between.

    Bellemare et al. (2017), algorithm 1.

    Args:
        weights: (B, atoms) probabilities of Z.
        rewards, factors: (B,).
        atoms: (atoms,), evenly spread.
    """
    moved = torch.addcmul(rewards.unsqueeze(1), factors.unsqueeze(1), atoms).clamp(atoms[0], atoms[-1])
    place = ((moved - atoms[0]) / (atoms[1] - atoms[0])).clamp(0, len(atoms) - 1)
    low = place.floor().long()
    share = place - low
    projected = torch.zeros_like(weights)
    projected.scatter_add_(1, low, weights * (1 - share))
    return projected.scatter_add_(1, (low + 1).clamp(max=len(atoms) - 1), weights * share)


class Experience:
    """A Source that plays while the loop asks it for batches: `train_every` frames for each, epsilon-greedy.

    Args:
        frames: over all ranks, the clock of epsilon and of the priorities' correction: those of the whole job, or those
            that it was planned for when it began, where it was made longer.
        learning_starts: frames before the first batch.
        explore: share of the frames over which epsilon falls from 1.
        epsilon: where it stays.
        beta: first correction of prioritised replay, which ends at 1.
    """

    def __init__(
        self,
        task: DQN,
        environments: Environments,
        replay: Replay,
        runtime: Runtime,
        *,
        frames: int,
        batch_size: int,
        learning_starts: int,
        train_every: int,
        explore: float,
        epsilon: float,
        beta: float = 0.4,
        seed: int = 0,
    ) -> None:
        self._task, self._environments, self._replay, self._runtime = task, environments, replay, runtime
        self._frames, self._batch_size = frames, batch_size
        self._starts, self._every = learning_starts, train_every
        self._explore, self._epsilon, self._beta = explore, epsilon, beta
        self._random = np.random.default_rng((seed, runtime.rank))
        self._normalises = any(isinstance(module, RunningNorm) for module in task.model.modules())
        self._given = 0
        self._drawn: Any = None  # the prioritised transitions whose errors are not yet taken back
        replay.begin(environments.observations)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Batches without end."""
        while True:
            self._take_errors()
            while self._environments.frames * self._runtime.world < self._starts + self._given * self._every:
                self._play()
            self._given += 1
            beta = self._beta + (1 - self._beta) * min(1.0, self._share)
            batch = self._replay.sample(self._random, self._batch_size, beta)
            self._drawn = batch.pop("index", None)
            batch["return"] = torch.full((self._batch_size,), self._environments.mean_return)
            yield self._runtime.to_device(batch)

    @property
    def _share(self) -> float:
        return self._environments.frames * self._runtime.world / self._frames

    def _play(self) -> None:
        """One step of every environment."""
        environments, model = self._environments, self._task.model
        epsilon = max(self._epsilon, 1.0 - (1.0 - self._epsilon) * self._share / self._explore)
        wander = self._random.random(environments.count) < epsilon
        actions = self._random.integers(model.actions, size=environments.count)
        if not wander.all():
            with torch.inference_mode():
                seen = self._runtime.to_device(each(environments.observations, torch.from_numpy))
                best = model.values(seen).argmax(1).cpu().numpy()
            actions = np.where(wander, actions, best)
        reset = environments.over
        before = environments.observations
        if self._normalises:
            update_statistics(model.encoder, self._runtime.to_device(each(before, torch.from_numpy)), self._runtime)
        rewards, terminated, _ = environments.step(actions + model.start if model.start else actions)
        self._replay.add(actions, rewards, terminated, environments.over, reset, environments.observations)

    def _take_errors(self) -> None:
        """The latest batch's errors become its priorities."""
        if self._drawn is not None:
            self._replay.update(self._drawn, self._task.errors.cpu().numpy())
            self._drawn = None

    def state_dict(self) -> dict[str, Any]:
        """The environments, the replay buffer, the generator and the count of batches."""
        self._take_errors()
        return {
            "environments": self._environments.state_dict(),
            "replay": self._replay.state_dict(),
            "random": encode_generator(self._random),
            "given": self._given,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Plays on."""
        self._replay.load_state_dict(state["replay"])
        if not self._environments.load_state_dict(state["environments"]):
            self._replay.cut(self._environments.observations)
        self._random, self._given = decode_generator(state["random"]), state["given"]

    def begin_again(self) -> None:
        """To be called where somebody else has played in the environment: a new episode follows."""
        self._environments.begin_again()
        self._replay.cut(self._environments.observations)

    def names(self, step: int) -> list[str]:
        """The environment, for all transitions are one's own."""
        return [f"transitions of {self._environments.name}"]
