"""Rollouts as a Source: play for a while, learn from what was played, forget it. A2C, PPO and REINFORCE share it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.states import refuse_unlike
from ptapp_rl.envs.capture import decode_generator, encode_generator
from ptapp_rl.envs.normalise import Moments, RewardScale, digits_note, size_note
from ptapp_rl.envs.spaces import Observations, bounds_note, each, empty, parts_of, pick, refuse_odd, rows_of, store
from ptapp_rl.envs.vector import Environments, Pace
from ptapp_rl.experience.returns import advantages
from ptapp_rl.models.actor import Gaussian, Networks
from ptapp_rl.models.networks import has_seen_nothing, largest, loses_digits, moments_of, take_in

Batch = dict[str, Any]
_AT_ONCE = 4096  # observations in a forward pass without gradients


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """How rollouts are played and learned from.

    Args:
        rollouts: how many are played; then the source ends.
        length: frames of each environment in a rollout.
        gamma, gae: see `returns.advantages`.
        passes: times that a rollout is learned from, each in another order.
        minibatches: minibatches of a pass.
        normalise_advantage: scales advantages to mean 0 and deviation 1 in a minibatch, over all ranks.
        target_kl: a rollout is given up once the policy is 1.5 times this far from the one that played it.
        scale_rewards: divides rewards by the deviation of the return.
        seed: seeds the noise of actions and the order of minibatches, with the rank.
    """

    rollouts: int
    length: int
    gamma: float
    gae: float
    passes: int = 1
    minibatches: int = 1
    normalise_advantage: bool = False
    target_kl: float | None = None
    scale_rewards: bool = False
    seed: int = 0


class Rollouts:
    """Minibatches of rollouts, each played with the policy as it is when the loop asks for its first minibatch.

    A minibatch holds, for n transitions: observation (n, ...), action, and float32 (n,) each log_prob, advantage,
    target (the return that the value should predict) and value. Transitions across a reset are left out.

    Args:
        say: takes a line for the user about observations that lose digits and numbers that are huge.
    """

    def __init__(
        self,
        config: RolloutConfig,
        model: Networks,
        environments: Environments,
        *,
        runtime: Runtime,
        say: Callable[[str], None] = print,
    ) -> None:
        self._config, self._model, self._environments = config, model, environments
        self._runtime, self._say = runtime, say
        self._steps = config.passes * config.minibatches  # minibatches of a rollout
        self._random = np.random.default_rng((config.seed, runtime.rank))
        count, length = environments.count, config.length
        self._scale = RewardScale(count, config.gamma, runtime) if config.scale_rewards else None
        head = model.head
        self._observations = empty(environments.observations, length + 1, count)
        self._actions = torch.zeros(length, count, *head.action_shape, dtype=head.dtype)
        self._rewards = np.zeros((length, count), dtype=np.float32)
        self._terminated = np.zeros((length, count), dtype=np.bool_)
        self._over = np.zeros((length + 1, count), dtype=np.bool_)
        self._columns: Batch = {}
        self._moments: list[Moments] = []  # those of the present rollout's observations
        self._order = torch.zeros(0, dtype=torch.int64)
        self._played, self._given = 0, self._steps
        self._explained: float | None = None
        self._pace = Pace(environments, runtime)

    def __iter__(self) -> Iterator[Batch]:
        """Minibatches, until all rollouts are played."""
        while True:
            if self._given == self._steps or (self._given and self._strayed()):
                if self._played >= self._config.rollouts:  # a resumed job may be shorter than it was
                    return
                self._play()
            yield self._minibatch()

    def state_dict(self) -> dict[str, Any]:
        """The environments, the generator, and what is left of the present rollout."""
        unused = self._given < self._steps
        return {
            "environments": self._environments.state_dict(),
            "random": encode_generator(self._random),
            "scale": self._scale.state_dict() if self._scale else None,
            "moments": self._moments,
            "columns": {name: value.clone() for name, value in self._named().items()} if unused else {},
            "order": self._order.clone(),
            "played": self._played,
            "given": self._given,
            "explained": self._explained,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues with the next minibatch."""
        if not self._environments.load_state_dict(state["environments"]):
            self._forget()
        self._refuse_other_state(state)
        self._random = decode_generator(state["random"])
        if self._scale:
            self._scale.load_state_dict(state["scale"])
        self._moments = self._runtime.to_device(state["moments"])
        self._columns = self._runtime.to_device(_from_names(state["columns"]))
        self._order, self._played, self._given = state["order"], state["played"], state["given"]
        self._explained = state["explained"]
        self._pace.restart()

    def begin_again(self) -> None:
        """Begins a new episode with the next rollout, where somebody else has played in the environment."""
        self._environments.begin_again()
        self._forget()

    def _forget(self) -> None:
        """Called where episodes begin anew, whatever was played before."""

    def clock(self) -> dict[str, float]:
        """Frames of all environments and ranks."""
        return self._pace.clock()

    def figures(self) -> dict[str, float]:
        """Return and length of the latest episodes, and how much of the returns' variance the values explained."""
        explained = {} if self._explained is None else {"explained_variance": self._explained}
        return self._environments.latest(self._runtime) | self._pace.figures() | explained

    def names(self, step: int) -> list[str]:
        """The environment, for all of its frames are one's own, and what may be wrong with them."""
        return [f"frames of {self._environments.name}", *self._too_large()]

    def _too_large(self) -> list[str]:
        """Lines on the rollout's observations and rewards where they are huge, and not scaled."""
        name, scaled = self._environments.name, self._scale is not None
        seen = each(self._observations, lambda part: part.flatten(0, 1))
        notes = (
            size_note("observations", name, largest(self._model.encoder, seen), option="--normalise"),
            size_note(
                "rewards", name, 0.0 if scaled else float(abs(self._rewards).max()), option="--normalise-rewards"
            ),
        )
        return list(filter(None, notes))

    def _play(self) -> None:
        """A rollout, with values and advantages of the whole of it at once.

        The statistics of observations take the rollout before in only now, for until its last minibatch the policy
        must see as it saw while it played. Those of nothing are filled first, by a rollout that is not learned from.
        """
        encoder = self._model.encoder
        take_in(encoder, self._moments, self._runtime)
        if self._played == 0 and has_seen_nothing(encoder):
            self._record()
            if self._scale:
                self._scale(self._rewards, self._over[1:])
            shown = each(self._observations, lambda part: self._runtime.to_device(part[:-1].flatten(0, 1)))
            take_in(encoder, moments_of(encoder, shown), self._runtime)
        self._columns = self._finished(self._record())
        self._played, self._given = self._played + 1, 0

    def _record(self) -> Tensor:
        """Steps the environments `length` times; returns the parameters of the policy's distribution at each."""
        environments, head = self._environments, self._model.head
        self._over[0] = environments.over
        played: list[Tensor] = []
        with torch.inference_mode():
            noise = self._runtime.to_device(head.noise(self._random, self._config.length, environments.count))
            for t in range(self._config.length):
                store(self._observations, t, environments.observations)
                now = self._runtime.to_device(pick(self._observations, t))
                played.append(self._model.distribution(self._features(t, now), now))
                actions = head.sample(played[t], noise[t])
                self._actions[t] = actions
                taken = head.in_space(actions).cpu().numpy()
                self._rewards[t], self._terminated[t], _ = environments.step(taken)
                self._over[t + 1] = environments.over
            store(self._observations, self._config.length, environments.observations)
        return torch.cat(played)

    def _features(self, t: int, now: Observations) -> Tensor:
        """What the policy sees, float (N, F), in the observations, (N, ...), of frame `t` of the rollout."""
        return self._model.encoder(now)

    def _values(self) -> Tensor:
        """The values of the rollout's observations, float (T + 1, N)."""
        seen = each(self._observations, lambda part: part.flatten(0, 1))
        values = self._judge(lambda shown: self._model.worth(self._model.encoder(shown)), seen)
        return values.view(self._config.length + 1, -1)

    def _rows(self) -> Tensor:
        """The transitions to learn from, int64 (n,), as rows of the rollout's frames, (T N,)."""
        return torch.from_numpy(~self._over[:-1]).flatten().nonzero().squeeze(1)

    def _beside(self, rows: Tensor) -> Batch:
        """Further columns of these transitions."""
        return {}

    @torch.no_grad()
    def _finished(self, parameters: Tensor) -> Batch:
        """The rollout as columns of the transitions to learn from; `parameters` of the policy that played them."""
        rewards = self._scale(self._rewards, self._over[1:]) if self._scale else self._rewards
        seen = each(self._observations, lambda part: part.flatten(0, 1))
        values, rows = self._values(), self._runtime.to_device(self._rows())
        tensors = [torch.as_tensor(a, dtype=t) for a, t in ((rewards, torch.float32), (self._terminated, torch.bool))]
        rewarded, terminated = self._runtime.to_device(tensors)
        over = self._runtime.to_device(torch.from_numpy(self._over[1:]))
        gamma, gae = self._config.gamma, self._config.gae
        estimate = advantages(rewarded, values, terminated, over=over, gamma=gamma, gae=gae)
        actions = self._runtime.to_device(self._actions).flatten(0, 1)
        log_prob, _ = self._model.head.score(parameters, actions)
        taken = self._runtime.to_device(pick(seen, slice(len(actions))))
        self._moments = moments_of(self._model.encoder, taken)
        if self._played == 0:
            if loses_digits(self._model.encoder, taken):
                self._say(digits_note(self._environments.name))
            shown = each(self._observations, lambda part: part.flatten(0, 1))
            beyond = bounds_note(self._environments.observation_space, shown, self._environments.name)
            for note in filter(None, (*self._too_large(), beyond)):
                self._say(note)
        columns = {
            "action": actions,
            "log_prob": log_prob,
            "advantage": estimate.flatten(),
            "target": (estimate + values[:-1]).flatten(),
            "value": values[:-1].flatten(),
        }
        chosen: Batch = {name: column.index_select(0, rows) for name, column in columns.items()}
        self._explained = _explained_variance(chosen["value"], chosen["target"])
        return chosen | {"observation": rows_of(taken, rows)} | self._beside(rows)

    def _judge(self, judge: Callable[[Any], Tensor], observations: Any) -> Tensor:
        """Applies a part of the model to many observations, in forward passes of a bounded size."""
        size = len(next(parts_of(observations)))
        parts = (pick(observations, slice(start, start + _AT_ONCE)) for start in range(0, size, _AT_ONCE))
        return torch.cat([judge(self._runtime.to_device(part)) for part in parts])

    def _minibatch(self) -> Batch:
        """The next minibatch of the rollout."""
        minibatches = self._config.minibatches
        place = self._given % minibatches
        self._given += 1
        if minibatches == 1:
            batch = dict(self._columns)  # a sum over all, in whatever order
        else:
            if place == 0:
                self._order = torch.from_numpy(self._random.permutation(self._shuffled(self._columns)))
            rows = self._runtime.to_device(self._transitions(self._order.tensor_split(minibatches)[place]))
            batch = {name: rows_of(column, rows) for name, column in self._columns.items()}
        if self._config.normalise_advantage:
            batch["advantage"] = self._normalised(batch["advantage"])
        return batch

    def _shuffled(self, columns: Batch) -> int:
        """How many things of a rollout with these columns the order of minibatches is of."""
        return len(columns["advantage"])

    def _transitions(self, chosen: Tensor) -> Tensor:
        """The rows of the columns, int64 (n,), that a minibatch of these things, int64, holds."""
        return chosen

    def _parameters(self) -> Tensor:
        """Those of the policy's distribution for all transitions, as it is now, float (n, P)."""
        return self._judge(
            lambda seen: self._model.distribution(self._model.encoder(seen), seen), self._columns["observation"]
        )

    def _normalised(self, advantage: Tensor) -> Tensor:
        """Scales advantages (n,) to mean 0 and deviation 1 over all ranks' shares of the minibatch."""
        if self._runtime.world == 1:
            deviation, mean = torch.std_mean(advantage)
            return (advantage - mean) / (deviation + 1e-8) if len(advantage) > 1 else advantage
        total, count = self._runtime.total(advantage.sum().item(), len(advantage))
        centred = advantage - total / count
        (squares,) = self._runtime.total(centred.square().sum().item())
        return centred / ((squares / max(count - 1, 1)) ** 0.5 + 1e-8)

    @torch.no_grad()
    def _strayed(self) -> bool:
        """Whether the policy has gone too far from the one that played the rollout (on all ranks together).

        The estimate of the divergence is that of Schulman (2020, "Approximating KL divergence"), (r - 1) - log r.
        """
        target_kl = self._config.target_kl
        if target_kl is None:
            return False
        log_ratio = self._model.head.score(self._parameters(), self._columns["action"])[0] - self._columns["log_prob"]
        divergence = log_ratio.expm1() - log_ratio
        total, count = self._runtime.total(divergence.sum().item(), len(divergence))
        return total / count > 1.5 * target_kl

    def _refuse_other_state(self, state: dict[str, Any]) -> None:
        """Raises ValueError for what is no state of such rollouts, whose environments are restored."""
        columns, order, moments = state["columns"], state["order"], state["moments"]
        size, unused = len(columns["advantage"]) if columns else 0, state["given"] < self._steps
        shown = self._runtime.to_device(each(self._environments.observations, torch.from_numpy))
        like: dict[str, Any] = {"random": "", "played": 0, "given": 0, "explained": state["explained"] and 0.0}
        like["moments"] = moments_of(self._model.encoder, shown) if moments else []
        like["order"] = torch.zeros(len(order), dtype=torch.int64)
        head, numbers = self._model.head, ("log_prob", "advantage", "target", "value")
        of_one = {name: torch.zeros(()) for name in numbers} | _by_name(pick(self._observations, (0, 0)))
        of_one["action"] = torch.zeros(head.action_shape, dtype=head.dtype)
        of_one |= self._one_beside()
        like["columns"] = {name: one.expand(size, *one.shape) for name, one in of_one.items()} if columns else {}
        refuse_unlike({name: state[name] for name in like}, like)
        if any(
            count < 1 or not mean.isfinite().all() or not variance.ge(0).all() for count, _, mean, variance in moments
        ):
            raise ValueError("moments of observations must be those of some, finite, with no negative variance")
        if state["given"] > self._steps or (unused and not size):
            raise ValueError(
                f"there is no minibatch {state['given']} of {self._steps} of a rollout of {size} transitions"
            )
        minibatches = self._config.minibatches
        begun = unused and minibatches > 1 and state["given"] % minibatches
        parts = self._shuffled(columns) if size else 0
        if not torch.equal(order.sort().values, torch.arange(len(order))) or (begun and len(order) != parts):
            raise ValueError(f"order must be one of {parts} parts of the rollout")
        if size:
            refuse_odd(_from_names(columns)["observation"], self._environments.form)
        if size and not isinstance(head, Gaussian):
            taken, count = columns["action"], torch.tensor(getattr(head, "sizes", head.noise_size))
            if not ((taken >= 0) & (taken < count)).all():
                raise ValueError("actions must be those of the environment")

    def _one_beside(self) -> dict[str, Tensor]:
        """Of one transition what `_beside` gives."""
        return {}

    def _named(self) -> dict[str, Tensor]:
        """The columns by name."""
        named = dict(self._columns)
        return named | _by_name(named.pop("observation"))


def _by_name(observation: Observations) -> dict[str, Tensor]:
    """Observations as columns; the parts of a dictionary are called observation/NAME."""
    if isinstance(observation, Tensor):
        return {"observation": observation}
    return {f"observation/{name}": part for name, part in observation.items()}


def _from_names(columns: Batch) -> Batch:
    """Columns by name with the parts of a dictionary of observations together again."""
    parts = {name.partition("/")[2]: part for name, part in columns.items() if name.startswith("observation/")}
    others = {name: column for name, column in columns.items() if not name.startswith("observation/")}
    return {**others, "observation": parts} if parts else others


def _explained_variance(values: Tensor, targets: Tensor) -> float | None:
    """1 - Var(target - value) / Var(target): 1 for a perfect critic, 0 for a constant one; None without variance."""
    variance = targets.var(correction=0).item()
    return 1.0 - (targets - values).var(correction=0).item() / variance if variance else None
