"""Deep Q-learning (Mnih et al. 2015) and the parts of Rainbow (Hessel et al. 2018) that can be had one by one.

double (van Hasselt et al. 2016), dueling (Wang et al. 2016), n-step returns, prioritised replay (Schaul et al. 2016)
and the distribution of returns, C51 (Bellemare et al. 2017).
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.torch_private import lerp_each
from ptapp_core.runs.states import refuse_unlike
from ptapp_core.task import Progress, Task
from ptapp_rl.card import Card
from ptapp_rl.envs.capture import decode_generator, encode_generator
from ptapp_rl.envs.forms import Discrete
from ptapp_rl.envs.normalise import RunningNorm, digits_note, size_note
from ptapp_rl.envs.spaces import Observations, bounds_note, each, refuse_odd
from ptapp_rl.envs.vector import Environments, Pace
from ptapp_rl.experience.replay import Replay
from ptapp_rl.experience.returns import discounted, least_and_greatest
from ptapp_rl.models.networks import Layers, encoder, largest, loses_digits, moments_of, take_in, width


class QNetwork(nn.Module):
    """The value of each action; as a module, raw observations to the best actions.

    With more than one atom it predicts the distribution of the return, on atoms spread evenly over the range of values.
    Where the card lacks an end of the range, `place` says it before training begins, and the weights have it later.
    """

    atoms: Tensor

    def __init__(self, card: Card) -> None:
        super().__init__()
        assert isinstance(card.action, Discrete)
        self.actions, self.start = card.action.n, card.action.start
        self._in_space = getattr(torch, card.action.dtype)
        self.count, self.dueling = card.atoms, card.dueling
        self.encoder = encoder(card.observation, card.normalise)
        sizes = [width(self.encoder), *card.hidden]
        if card.observation.kind == "image":
            sizes = sizes[:1]  # its encoder ends in a hidden layer
        self.hidden, size = Layers(sizes, card.activation), sizes[-1]
        self.advantage = nn.Linear(size, self.actions * self.count)
        self.value = nn.Linear(size, self.count) if self.dueling else None
        self.register_buffer("atoms", torch.zeros(self.count))
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
        self.atoms.copy_(torch.linspace(least, greatest, self.count))

    def logits(self, observations: Observations) -> Tensor:
        """Raw observations (N, ...) to the log-weights of the atoms, float (N, actions, atoms).

        With one atom they are the values themselves.
        """
        features = self.hidden(self.encoder(observations))
        advantage = self.advantage(features).unflatten(-1, (self.actions, self.count))
        if self.value is None:
            return advantage
        return self.value(features).unsqueeze(1) + advantage - advantage.mean(1, keepdim=True)

    def values(self, observations: Observations) -> Tensor:
        """Raw observations (N, ...) to the expected return of each action, float (N, actions)."""
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
        """The loss of a batch of `Replay.sample`, a float32 scalar; units are its transitions."""
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
        return loss, len(action), {"value": value}

    def after_step(self, progress: Progress) -> None:
        """Copies the weights to the target network, or moves it towards them (`tau`)."""
        if self.tau is None and progress.step % self.target_every:
            return
        with torch.no_grad():
            mine: list[Tensor] = list(self.target.parameters())
            theirs: list[Tensor] = list(self.model.parameters())
            lerp_each(mine, theirs, 1.0 if self.tau is None else self.tau)
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
        probabilities = logits.softmax(-1)
        judge = self.model.values(following) if self.double_q else (probabilities * self.model.atoms).sum(-1)
        best = probabilities[torch.arange(len(probabilities), device=probabilities.device), judge.argmax(1)]
        return project(best, batch["reward"], batch["factor"], atoms=self.model.atoms)


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
class ExperienceConfig:
    """How `Experience` plays and draws batches; frames count over all environments and ranks.

    Args:
        frames: the clock of epsilon and of the priorities' correction: the frames that the job was planned for when it
            began, though it may have become longer since.
        batch_size: transitions of a batch on this rank.
        learning_starts: frames before the first batch.
        train_every: frames between two batches.
        explore: share of `frames` over which epsilon falls from 1.
        epsilon: the chance of a random action after that.
        beta: first correction of prioritised replay, which ends at 1.
        seed: seeds random actions and batches, with the rank.
    """

    frames: int
    batch_size: int
    learning_starts: int
    train_every: int
    explore: float
    epsilon: float
    beta: float = 0.4
    seed: int = 0


class Experience:
    """A Source that plays while the loop asks it for batches: `train_every` frames for each, epsilon-greedy.

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
        self._config, self._task, self._environments = config, task, environments
        self._replay, self._runtime = replay, runtime
        self._random = np.random.default_rng((config.seed, runtime.rank))
        self._normalises = any(isinstance(module, RunningNorm) for module in task.model.modules())
        self._given, self._say = 0, say
        self._watched = task.model.count > 1  # whether returns are compared with the atoms
        self._episodes: list[list[float]] = [[] for _ in range(environments.count)]  # their rewards so far
        self._drawn: Any = None  # the prioritised transitions whose errors are not yet taken back
        self._pace = Pace(environments, runtime)
        replay.begin(environments.observations)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields batches without end."""
        config = self._config
        while True:
            self._take_errors()
            due = config.learning_starts + self._given * config.train_every
            while self._environments.frames * self._runtime.world < due:
                self._play()
            if self._given == 0 and self._watched and None in self._task.model.range:
                self._place_atoms()
            self._given += 1
            beta = config.beta + (1 - config.beta) * min(1.0, self._share)
            batch = self._replay.sample(self._random, config.batch_size, beta)
            self._drawn = batch.pop("index", None)
            if self._given == 1:
                self._note(batch["observation"])
            yield self._runtime.to_device(batch)

    def _note(self, observations: Observations) -> None:
        """Says what of the first batch's observations a network cannot learn well."""
        network, name = self._task.model.encoder, self._environments.name
        if loses_digits(network, observations):
            self._say(digits_note(name))
        if note := size_note("observations", name, largest(network, observations), option="--normalise"):
            self._say(note)
        if note := bounds_note(self._environments.observation_space, observations, name):
            self._say(note)

    @property
    def _share(self) -> float:
        return self._environments.frames * self._runtime.world / self._config.frames

    @property
    def _chance(self) -> float:
        """Epsilon, the chance of a random action, now."""
        least = self._config.epsilon
        return max(least, 1.0 - (1.0 - least) * self._share / self._config.explore)

    def _play(self) -> None:
        """Steps every environment once."""
        environments, model = self._environments, self._task.model
        wander = self._random.random(environments.count) < self._chance
        actions = self._random.integers(model.actions, size=environments.count)
        if not wander.all():
            with torch.inference_mode():
                seen = self._runtime.to_device(each(environments.observations, torch.from_numpy))
                best = model.values(seen).argmax(1).cpu().numpy()
            actions = np.where(wander, actions, best)
        reset = environments.over
        before = environments.observations
        if self._normalises:
            moments = moments_of(model.encoder, self._runtime.to_device(each(before, torch.from_numpy)))
            take_in(model.encoder, moments, self._runtime)
        rewards, terminated, _ = environments.step(model.in_space(torch.from_numpy(actions)).numpy())
        over, following = environments.over, environments.observations
        self._replay.add(actions, rewards, terminated, over=over, reset=reset, following=following)
        if self._watched:
            self._watch(rewards, reset)

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
        """Continues to play where the state was taken."""
        refuse_unlike({name: state[name] for name in ("random", "given")}, {"random": "", "given": 0})
        if not (state["replay"]["arrays"]["actions"] < self._task.model.actions).all():
            raise ValueError(f"actions must be below {self._task.model.actions}")
        self._replay.load_state_dict(state["replay"])
        refuse_odd(each(state["replay"]["observations"], lambda part: part.flatten(0, 1)), self._environments.form)
        if not self._environments.load_state_dict(state["environments"]):
            self._replay.cut(self._environments.observations)
        least = self._config.learning_starts + (state["given"] - 1) * self._config.train_every
        if state["given"] and self._environments.frames * self._runtime.world < least:
            raise ValueError(f"{self._environments.frames} frames cannot have made {state['given']} batches")
        self._random, self._given = decode_generator(state["random"]), state["given"]
        self._pace.restart()

    def begin_again(self) -> None:
        """Begins a new episode, where somebody else has played in the environment."""
        self._environments.begin_again()
        self._replay.cut(self._environments.observations)
        for rewarded in self._episodes:
            rewarded.clear()

    def clock(self) -> dict[str, float]:
        """Frames of all environments and ranks."""
        return self._pace.clock()

    def figures(self) -> dict[str, float]:
        """Return and length of the latest episodes, and epsilon."""
        return self._environments.latest(self._runtime) | self._pace.figures() | {"epsilon": self._chance}

    def names(self, step: int) -> list[str]:
        """The environment, for all transitions are one's own."""
        return [f"transitions of {self._environments.name}"]
