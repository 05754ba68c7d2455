"""Deep Q-learning (Mnih et al. 2015) and what improves it; Rainbow (Hessel et al. 2018) is all of it but QR-DQN.

double (van Hasselt et al. 2016), dueling (Wang et al. 2016), n-step returns, prioritised replay (Schaul et al. 2016),
noisy weights in place of random actions (Fortunato et al. 2018), and the distribution of returns: by the probabilities
of atoms, C51 (Bellemare et al. 2017), or by its quantiles, QR-DQN (Dabney et al. 2018).
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_core.task import Progress, Task
from ptapp_rl.envs.forms import forbidden, mask_of
from ptapp_rl.envs.spaces import each
from ptapp_rl.envs.vector import Environments
from ptapp_rl.experience.offpolicy import OffPolicy, OffPolicyConfig
from ptapp_rl.experience.replay import Replay
from ptapp_rl.experience.returns import discounted, least_and_greatest
from ptapp_rl.models.networks import follow
from ptapp_rl.models.noisy import NoisyLinear
from ptapp_rl.models.qnetwork import QNetwork


class DQN(Task):
    """The temporal difference error under Huber's loss; of distributions another loss.

    C51 has the cross-entropy to the projected distribution, QR-DQN the quantile Huber loss. Noisy weights are drawn
    thrice for a batch: for the values, for those of the target network, and for the choice of the next action.

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
        self.noises: tuple[str, ...] = ()
        """Names of the draws, `QNetwork.noise`, that a batch brings for the loss."""
        if model.noise_size:
            self.noises = ("noise", "noise_following", *(["noise_choice"] if double else []))
        self.errors = torch.zeros(0)
        """Error of each transition of the latest batch, which prioritised replay draws by: of values the absolute
        difference, of distributions the loss."""

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, int, dict[str, Tensor]]:
        """The loss of a batch of `Replay.sample` with its `noises`, a float32 scalar; units are its transitions."""
        action = batch["action"]
        logits = self.model.logits(batch["observation"], batch.get("noise"))
        taken = logits.gather(1, action.view(-1, 1, 1).expand(-1, 1, logits.shape[2])).squeeze(1)
        with torch.no_grad():
            target = self._target(batch)
        losses, self.errors = self._losses(taken, target)
        loss = (losses * batch["weight"]).sum() if "weight" in batch else losses.sum()
        return loss, len(action), {"value": self.model.expected(taken.detach()).sum()}

    def after_step(self, progress: Progress) -> None:
        """Copies the weights to the target network, or moves it towards them (`tau`)."""
        if self.tau is not None:
            follow(self.target, self.model, self.tau)
        elif progress.step % self.target_every == 0:
            follow(self.target, self.model, 1.0)

    def _target(self, batch: dict[str, Any]) -> Tensor:
        """r + factor Q'(s', a'), (B, 1), or its quantiles, (B, quantiles), or its distribution, (B, atoms)."""
        following, reward, factor = batch["following"], batch["reward"], batch["factor"]
        logits = self.target.logits(following, batch.get("noise_following"))
        if self.double_q:
            judge = self.model.values(following, batch.get("noise_choice"))
        else:
            judge = self.target.values_of(logits, following)
        best = logits[torch.arange(len(logits), device=logits.device), judge.argmax(1)]
        if self.model.categorical:
            return project(best.softmax(-1), reward, factor, atoms=self.model.atoms)
        return torch.addcmul(reward.unsqueeze(1), factor.unsqueeze(1), best)

    def _losses(self, taken: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each transition and its error, (B,) both; the arguments are (B, count) each."""
        if self.model.count == 1:
            losses = functional.smooth_l1_loss(taken, target, reduction="none").squeeze(1)
            return losses, (taken.detach() - target).abs().squeeze(1)
        losses = -(target * taken.log_softmax(-1)).sum(-1) if self.model.categorical else quantile_huber(taken, target)
        return losses, losses.detach()


def quantile_huber(quantiles: Tensor, targets: Tensor) -> Tensor:
    """The quantile Huber loss of each row, float32 (B,) (Dabney et al. 2018, equation 10 and algorithm 1).

    sum over i of the mean over j of |tau_i - [u < 0]| Huber(u), where u = targets_j - quantiles_i, Huber's loss changes
    at 1, and tau_i = (i - 1/2) / N. Its minimum is where the i-th quantile has the share tau_i of the targets below it.

    Args:
        quantiles: what is predicted, float32 (B, N).
        targets: float32 (B, M), samples of the distribution; they get no gradient.
    """
    count = quantiles.shape[1]
    shares = (torch.arange(count, device=quantiles.device) + 0.5) / count
    difference = targets.unsqueeze(1) - quantiles.unsqueeze(2)  # (B, N, M)
    huber = functional.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none")
    return ((shares.unsqueeze(1) - (difference.detach() < 0).float()).abs() * huber).mean(2).sum(1)


def project(probabilities: Tensor, rewards: Tensor, factors: Tensor, *, atoms: Tensor) -> Tensor:
    """The distribution of r + factor Z on the atoms of Z, float32 (B, atoms).

    Each weight is shared by the two atoms that it falls between (Bellemare et al. 2017, algorithm 1).

    Args:
        probabilities: probabilities of Z, float32 (B, atoms).
        rewards, factors: float32 (B,).
        atoms: float32 (atoms,), evenly spread.
    """
    moved = torch.addcmul(rewards.unsqueeze(1), factors.unsqueeze(1), atoms).clamp(atoms[0], atoms[-1])
    place = ((moved - atoms[0]) / (atoms[1] - atoms[0])).clamp(0, len(atoms) - 1)
    low = place.floor().long()
    share = place - low
    projected = torch.zeros_like(probabilities)
    projected.scatter_add_(1, low, probabilities * (1 - share))
    return projected.scatter_add_(1, (low + 1).clamp(max=len(atoms) - 1), probabilities * share)


@dataclass(frozen=True, kw_only=True)
class ExperienceConfig(OffPolicyConfig):
    """How `Experience` plays and draws batches.

    Args:
        frames: the clock of epsilon and of the priorities' correction: the frames that the job was planned for when it
            began, though it may have become longer since.
        explore: share of `frames` over which epsilon falls from 1.
        epsilon: the chance of a random action after that.
        beta: first correction of prioritised replay, which ends at 1.
    """

    frames: int
    explore: float
    epsilon: float
    beta: float = 0.4


class Experience(OffPolicy):
    """Plays epsilon-greedy, and takes the errors of a batch back as its priorities.

    With noisy weights it draws actions evenly before the first batch, and then plays what is best under a draw of the
    weights for each environment and step; a batch brings draws for the loss, which is a function of it and the weights.

    Args:
        say: takes a line for the user: where the atoms are, a return beyond them, observations that lose digits.
    """

    def __init__(
        self,
        config: ExperienceConfig,
        task: DQN,
        environments: Environments,
        *,
        replay: Replay,
        runtime: Runtime,
        say: Callable[[str], None] = print,
    ) -> None:
        super().__init__(config, task, environments, replay=replay, runtime=runtime, say=say)
        self._config: ExperienceConfig = config
        self._watched = task.model.categorical  # whether returns are compared with the atoms
        self._episodes: list[list[float]] = [[] for _ in range(environments.count)]  # their rewards so far
        self._drawn: Any = None  # the prioritised transitions whose errors are not yet taken back

    @property
    def _share(self) -> float:
        return self._environments.frames * self._runtime.world / self._config.frames

    @property
    def _chance(self) -> float:
        """Epsilon, the chance of a random action, now."""
        if self._task.noises:
            return float(self._given == 0)
        least = self._config.epsilon
        return max(least, 1.0 - (1.0 - least) * self._share / self._config.explore)

    def _choose(self) -> tuple[Any, Any]:
        environments, model = self._environments, self._task.model
        wander = self._random.random(environments.count) < self._chance
        actions = self._drawn_evenly()
        if not wander.all():
            noise = model.noise(self._random, environments.count)
            with torch.inference_mode():
                seen = each(environments.observations, torch.from_numpy)
                best = model.values(*self._runtime.to_device((seen, noise))).argmax(1).cpu().numpy()
            actions = np.where(wander, actions, best)
        return actions, model.in_space(torch.from_numpy(actions)).numpy()

    def _drawn_evenly(self) -> Any:
        """A random action for each environment, int64 (count,), of those that its mask permits, if it has one."""
        environments, actions = self._environments, self._task.model.actions
        if (mask := mask_of(environments.form)) is None:
            return self._random.integers(actions, size=environments.count)
        noise = self._random.random((environments.count, actions))
        return np.where(forbidden(environments.observations, mask), -1.0, noise).argmax(1)

    def _play(self) -> Any:
        self._take_errors()
        reset = self._environments.over
        rewards = super()._play()
        if self._watched:
            self._watch(rewards, reset)
        return rewards

    def _batch(self) -> dict[str, Any]:
        self._take_errors()
        if self._given == 0 and self._watched and None in self._task.model.range:
            self._place_atoms()
        beta = self._config.beta + (1 - self._config.beta) * min(1.0, self._share)
        batch = self._replay.sample(self._random, self._config.batch_size, beta)
        self._drawn = batch.pop("index", None)
        return batch | {name: self._task.model.noise(self._random, 1) for name in self._task.noises}

    def _take_errors(self) -> None:
        """The latest batch's errors become its priorities."""
        if self._drawn is not None:
            self._replay.update(self._drawn, self._task.errors.cpu().numpy())
            self._drawn = None

    def _place_atoms(self) -> None:
        """Spreads the atoms over the returns that the rewards seen so far, on all ranks, allow."""
        rewards, terminated = self._replay.rewards()
        ends = self._runtime.gather(least_and_greatest(rewards, terminated, self._replay.gamma))
        least, greatest = self._task.model.range
        least = min(low for low, _ in ends) if least is None else least
        greatest = max(high for _, high in ends) if greatest is None else greatest
        if least == greatest == 0:
            least, greatest = -1.0, 1.0
        span = f"from {least:g} to {greatest:g}"
        if least >= greatest:
            raise UserError(f"--atoms: the rewards seen so far allow returns {span}; give --value-min and --value-max")
        for model in (self._task.model, self._task.target):
            model.place(least, greatest)
        frames = self._environments.frames * self._runtime.world
        self._say(f"atoms {span}, by the rewards of the first {frames:,} frames; --value-min and --value-max set them")

    def _watch(self, rewards: Any, reset: Any) -> None:
        """Looks at the returns of the episodes that ended with this step."""
        for index, rewarded in enumerate(self._episodes):
            if not reset[index]:
                rewarded.append(float(rewards[index]))
            if self._environments.over[index]:
                self._compare(discounted(rewarded, self._replay.gamma))
                rewarded.clear()

    def _compare(self, returns: list[float]) -> None:
        """Says so, once, where a return lies beyond the atoms, if these are placed."""
        least, greatest = (float(atom) for atom in self._task.model.atoms[[0, -1]])
        slack = 1e-6 * (greatest - least)  # rounding
        beyond = [value for value in returns if not least - slack <= value <= greatest + slack]
        if self._watched and least < greatest and beyond:
            self._watched = False
            self._say(
                f"a return of {max(beyond, key=abs):g} (frame {self._environments.frames:,}) lies beyond the atoms, "
                f"{least:g} to {greatest:g}, and cannot be learned: set --value-min and --value-max"
            )

    def state_dict(self) -> dict[str, Any]:
        """The environments, the replay buffer, the generator and the count of batches."""
        self._take_errors()
        return super().state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues to play where the state was taken."""
        if not (state["replay"]["arrays"]["actions"] < self._task.model.actions).all():
            raise ValueError(f"actions must be below {self._task.model.actions}")
        super().load_state_dict(state)

    def begin_again(self) -> None:
        """Begins a new episode, where somebody else has played in the environment."""
        super().begin_again()
        for rewarded in self._episodes:
            rewarded.clear()

    def figures(self) -> dict[str, float]:
        """Return and length of the latest episodes, frames a second, and epsilon or the size of the noise."""
        heads = [layer for layer in self._task.model.modules() if isinstance(layer, NoisyLinear)]
        if heads:
            deviations = torch.cat([head.weight_deviation.detach().flatten() for head in heads])
            return super().figures() | {"noise": float(deviations.abs().mean())}
        return super().figures() | {"epsilon": self._chance}
