"""The settings of `ptapp rl`. Frames are steps of an environment, summed over all of them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from ptapp_core.settings.after_training import ExportSettings, OfRun
from ptapp_core.settings.fields import flag, option
from ptapp_core.settings.idle import Only
from ptapp_core.settings.own import full_name, is_own
from ptapp_core.settings.ranks import machines
from ptapp_core.settings.train import JobSettings
from ptapp_core.tune.config import TuneSettings
from ptapp_rl.envs.tuned import DEFAULTS, tuned_for

Algorithm = Literal["dqn", "rainbow", "reinforce", "a2c", "ppo", "sac", "td3", "ddpg"]
VALUES = ("dqn", "rainbow")
"""Algorithms that learn the values of counted actions; Rainbow is DQN with other defaults."""
CONTINUOUS = ("sac", "td3", "ddpg")
"""Algorithms that learn from replay what real numbers to answer with."""
OFF_POLICY = (*VALUES, *CONTINUOUS)
"""Algorithms that learn from replay."""

_RELATED = {
    **dict.fromkeys(("trpo", "impala", "appo", "ppg"), "ppo"),
    **dict.fromkeys(("recurrentppo", "ppolstm", "lstm", "drqn", "r2d2"), "ppo --lstm 64"),
    **dict.fromkeys(("recurrenta2c", "a2clstm"), "a2c --lstm 64"),
    **dict.fromkeys(("a3c", "acktr", "acer"), "a2c"),
    **dict.fromkeys(("vpg", "pg", "policygradient"), "reinforce"),
    **dict.fromkeys(("sarsa", "qlearning", "nfq"), "dqn"),
    **dict.fromkeys(("ddqn", "double", "doubledqn"), "dqn --double"),
    **dict.fromkeys(("dueling", "duelingdqn"), "dqn --dueling"),
    **dict.fromkeys(("per", "prioritized", "prioritised", "apex", "apexdqn"), "dqn --prioritised"),
    **dict.fromkeys(("c51", "categoricaldqn", "distributionaldqn"), "dqn --atoms 51"),
    **dict.fromkeys(("qrdqn", "iqn", "fqf", "quantile"), "dqn --quantiles 50"),
    **dict.fromkeys(("noisy", "noisynet", "noisynets", "noisydqn", "noisynetdqn"), "dqn --noisy"),
    **dict.fromkeys(("rainbowdqn", "rainbowiqn", "bbf"), "rainbow"),
    **dict.fromkeys(("d4pg", "maddpg", "dpg"), "td3"),
    **dict.fromkeys(("tqc", "redq", "crossq", "droq"), "sac"),
    **dict.fromkeys(("her", "hindsight"), "sac --hindsight 0.8"),
}
"""Algorithms that are not here, in lower case without marks, with what comes nearest to them in meaning."""

_WIDEST = 2**20
_OF_DQN = (
    *("double", "dueling", "n_step", "prioritised", "priority_exponent", "priority_correction", "atoms", "value_min"),
    *("value_max", "quantiles", "noisy", "explore", "epsilon", "target_every"),
)
_OF_ROLLOUTS = ("lstm", "rollout", "gae", "value_loss", "entropy", "normalise_advantage", "normalise_rewards")

ONLY_OF: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_OF_DQN, VALUES),
    **dict.fromkeys(("passes", "clip_ratio", "clip_value", "target_kl"), ("ppo",)),
    **dict.fromkeys(_OF_ROLLOUTS, ("reinforce", "a2c", "ppo")),
    "stochastic_eval": ("reinforce", "a2c", "ppo", "sac"),
    **dict.fromkeys(("buffer", "learning_starts", "train_every", "hindsight", "tau"), OFF_POLICY),
    "action_noise": ("td3", "ddpg"),
    **dict.fromkeys(("target_noise", "policy_every"), ("td3",)),
}
"""Options that only these algorithms read; for another they must stay as they are."""


_ONLY = (
    Only(("priority_exponent", "priority_correction"), lambda job: job.prioritised, "--prioritised"),
    Only(("explore", "epsilon"), lambda job: not job.noisy, "random actions, without --noisy"),
    Only(("target_every",), lambda job: job.tau is None, "a target network without --tau"),
    Only(("parallel",), lambda job: job.seeds is not None, "--seeds"),
    Only(("seed",), lambda job: job.seeds is None, "a job without --seeds"),
)


class TrainRL(JobSettings):
    """`ptapp rl train`. Defaults shown are PPO's; `ptapp rl algos` prints what others and some environments change."""

    only: ClassVar[tuple[Only, ...]] = (*JobSettings.only, *_ONLY)
    first: ClassVar[tuple[str, ...]] = (*JobSettings.first, "env", "algo", "frames", "envs", "normalise", "seeds")
    may_change: ClassVar[frozenset[str]] = JobSettings.may_change | {"frames", "vector", "parallel"}
    lengths: ClassVar[tuple[str, ...]] = ("frames",)

    env: str = option("CartPole", "environment: a name, module:Name or file.py:Name", group="Environment")
    wrap: str | None = option(
        None, "function that wraps the environment: module:name or file.py:name", group="Environment"
    )
    algo: Algorithm = option("ppo", "algorithm", group="Environment")
    frames: int = option(100_000, "frames to learn from, over all environments and ranks", group="Environment", ge=1)
    envs: int = option(8, "environments stepped at once, over all ranks", group="Environment", ge=1)
    vector: Literal["auto", "sync", "async"] = option(
        "auto", "sync: one process, async: one each, auto: the faster of sync and an own vector", group="Environment"
    )
    trial: bool = option(True, "play two more first, to see how they resume; else reset", group="Environment")
    max_episode_steps: int | None = option(
        None, "steps that end an episode; none: the environment's own limit", group="Environment", ge=1, lt=2**31
    )
    stack: int = option(1, "latest frames that make an observation", group="Environment", ge=1, le=16)
    normalise: bool = option(False, "centre and scale observations by running statistics", group="Environment")
    normalise_rewards: bool = option(False, "scale rewards by the spread of the return", group="Environment")

    hidden: list[int] = option([64, 64], "units of the hidden layers", group="Model")
    activation: Literal["tanh", "relu"] = option("tanh", "of the hidden layers", group="Model")
    lstm: int | None = option(
        None, "units of an LSTM that remembers the episode; none: no memory", group="Model", ge=1, le=_WIDEST
    )
    weights: Path | None = option(None, "start from the weights of another run's policy", group="Model")

    batch_size: int = option(
        256, "transitions an optimizer step, over all ranks", group="Optimisation", short="-b", ge=1
    )
    gamma: float = option(0.98, "discount of a frame", group="Optimisation", ge=0, le=1)
    rollout: int = option(32, "frames of each environment between updates", group="Actor-critic", ge=1)
    gae: float = option(0.8, "lambda of generalised advantage estimation", group="Actor-critic", ge=0, le=1)
    value_loss: float = option(0.5, "weight of the value loss", group="Actor-critic", ge=0)
    entropy: float = option(0.0, "weight of the entropy bonus", group="Actor-critic", ge=0)
    normalise_advantage: bool = option(True, "advantages of mean 0 and deviation 1 in a batch", group="Actor-critic")
    passes: int = option(20, "passes over a rollout", group="PPO", ge=1)
    clip_ratio: float = option(0.2, "how far the ratio of probabilities pays off", group="PPO", gt=0)
    clip_value: float | None = option(None, "how far a value may move in a rollout's updates", group="PPO", gt=0)
    target_kl: float | None = option(None, "drop the rest of a rollout beyond 1.5 times this KL", group="PPO", gt=0)

    buffer: int = option(50_000, "frames that the replay buffer keeps", group="Replay", ge=1)
    learning_starts: int = option(1_000, "frames before the first update", group="Replay", ge=1)
    train_every: int = option(2, "frames for each update", group="Replay", ge=1)
    hindsight: float = option(
        0.0, "share of a batch that gets a goal which was reached later", group="Replay", ge=0, le=1
    )
    tau: float | None = option(None, "Polyak step of a target network, instead of copies", group="Replay", gt=0, le=1)
    action_noise: float = option(0.1, "noise of exploration; an action's bounds are -1, 1", group="TD3, DDPG", ge=0)
    target_noise: float = option(0.2, "noise of the target's action", group="TD3", ge=0)
    policy_every: int = option(2, "updates of the critics for each of the policy", group="TD3", ge=1)
    explore: float = option(0.16, "share of the frames over which epsilon falls", group="DQN", gt=0, le=1)
    epsilon: float = option(0.04, "final share of random actions", group="DQN", ge=0, le=1)
    target_every: int = option(200, "updates between copies to the target network", group="DQN", ge=1)
    double: bool = option(True, "choose the next action with the learning network", group="DQN")
    dueling: bool = option(False, "separate state value and advantages", group="DQN")
    n_step: int = option(1, "rewards before the bootstrap", group="DQN", ge=1, le=50)
    prioritised: bool = option(False, "draw transitions by their last error", group="DQN")
    priority_exponent: float = option(0.6, "alpha: how much priorities count", group="DQN", ge=0, le=1)
    priority_correction: float = option(0.4, "first beta of the importance weights; ends at 1", group="DQN", ge=0, le=1)
    atoms: int = option(1, "atoms of a return's distribution (C51 has 51); 1: its mean", group="DQN", ge=1, le=2**20)
    value_min: float | None = option(None, "least return of the atoms; none: by the first rewards", group="DQN")
    value_max: float | None = option(None, "greatest return of the atoms; none: by the first rewards", group="DQN")
    quantiles: int = option(
        1, "quantiles of a return (QR-DQN has 200), not atoms; 1: its mean", group="DQN", ge=1, le=2**20
    )
    noisy: bool = option(False, "explore by noisy weights, whose noise is learned, not by epsilon", group="DQN")

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal[
        "constant", "step", "multistep", "exponential", "cosine", "polynomial", "cyclic", "onecycle", "plateau"
    ] = "polynomial"
    warmup: float = 0.0
    clip: float | None = 0.5
    monitor: Literal["return", "iqm"] | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    threads: int | None = 1

    eval_every: int = option(10_000, "frames between evaluations", group="Run", ge=1)
    eval_episodes: int = option(20, "episodes of an evaluation", group="Run", ge=1)
    stochastic_eval: bool = option(False, "evaluate by actions drawn from the policy, not the likeliest", group="Run")
    test_episodes: int = option(100, "episodes of the evaluation at the end", group="Run", ge=1)
    save_every: int | None = option(None, "frames between checkpoints; none: at each evaluation", group="Run", ge=1)
    seeds: str | None = option(None, "train a run for each, as 0-9 or 0,3,5, in place of --seed", group="Run")
    parallel: int = option(1, "runs of --seeds at a time, each in a process", group="Run", ge=1)

    def own_code(self) -> dict[str, str]:
        """The environment, and the function that wraps it, where these are of the user's own."""
        found = {"env": self.env, "wrap": self.wrap}
        return {name: value for name, value in found.items() if value is not None and is_own(value)}

    def with_full_paths(self) -> Self:
        """The paths of the files that bring the environment and what wraps it."""
        return self.model_copy(update={name: full_name(value) for name, value in self.own_code().items()})

    @property
    def one_instance(self) -> bool:
        """Whether the job has one environment at any time, which training and evaluation share."""
        return self.envs == 1 and not self.trial

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_algorithm_and_environment(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        fields = cls.model_fields
        algo, env = (str(values.get(name, fields[name].default)) for name in ("algo", "env"))
        return {**DEFAULTS.get(algo, {}), **tuned_for(algo, env), **values}

    def usual(self) -> Mapping[str, Any]:
        """What the algorithm and the environment set."""
        return {**DEFAULTS.get(self.algo, {}), **tuned_for(self.algo, self.env)}

    @field_validator("algo", mode="before")
    @classmethod
    def _algorithm_is_here(cls, algo: Any) -> Any:
        related = _RELATED.get(re.sub(r"[^a-z0-9]", "", str(algo).lower()))
        if related:
            raise ValueError(f"it is not among the algorithms; the nearest in meaning is --algo {related}")
        return algo

    @field_validator("hidden")
    @classmethod
    def _layers_have_units(cls, hidden: list[int]) -> list[int]:
        if not all(0 < units <= _WIDEST for units in hidden):
            raise ValueError(f"must be numbers of units from 1 to {_WIDEST}, as 64,64")
        return hidden

    @field_validator("seeds")
    @classmethod
    def _seeds_can_be_read(cls, seeds: str | None) -> str | None:
        if seeds is not None:
            seed_list(seeds)
        return seeds

    @model_validator(mode="after")
    def _options_are_the_algorithms(self) -> Self:
        for name, algorithms in ONLY_OF.items():
            if self.algo not in algorithms and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{flag(name)} is an option of {', '.join(algorithms)}, not of --algo {self.algo}")
        return self

    @model_validator(mode="after")
    def _numbers_fit_together(self) -> Self:
        least, most = machines(self.nnodes)
        if least < most:
            raise ValueError(
                f"--nnodes {self.nnodes}: each rank has environments of its own, so their number stays: give --nnodes N"
            )
        if self.envs % self.nproc or self.batch_size % self.nproc:
            raise ValueError(f"--envs and --batch-size must be multiples of --nproc {self.nproc}")
        if self.algo in OFF_POLICY:
            self._replay_fits()
        elif self.algo == "ppo":
            frames = self.envs * self.rollout
            if frames % self.batch_size:
                fitting = range(min(self.batch_size, frames) // self.nproc * self.nproc, 0, -self.nproc)
                fits = next(size for size in fitting if frames % size == 0)
                raise ValueError(
                    f"--batch-size {self.batch_size} does not divide a rollout of {frames} frames (--envs {self.envs} "
                    f"times --rollout {self.rollout}): give --batch-size {fits}"
                )
        elif self.batch_size != self.envs * self.rollout:
            raise ValueError(
                f"--algo {self.algo} learns from a rollout at once: give --batch-size {self.envs * self.rollout} "
                f"(--envs {self.envs} times --rollout {self.rollout})"
            )
        if self.lstm is not None:
            self._sequences_fit()
        if self.one_instance and self.vector == "async":
            raise ValueError("--vector async is for many: one environment without a trial is played in this process")
        if self.seeds is not None and self.resume is not None:
            raise ValueError("--resume continues with one run: leave --seeds out")
        if self.seeds is not None and self.rdzv is not None:
            raise ValueError("--seeds are jobs of one machine: leave --nnodes and --rdzv out")
        return self

    def _sequences_fit(self) -> None:
        if self.rollout == 1:
            raise ValueError("--lstm learns what to remember from one frame to the next: give --rollout at least 2")
        sequences = self.rollout * self.nproc
        if self.batch_size % sequences:
            frames = self.envs * self.rollout
            whole = (size for size in range(sequences, frames + 1, sequences) if frames % size == 0)
            raise ValueError(
                f"--batch-size {self.batch_size}: --lstm learns from whole sequences of --rollout {self.rollout} "
                f"frames: give --batch-size {min(whole, key=lambda size: abs(size - self.batch_size))}"
            )

    def _replay_fits(self) -> None:
        if self.frames <= self.learning_starts:
            raise ValueError(f"--frames {self.frames} ends before --learning-starts {self.learning_starts}")
        if self.learning_starts <= (least := (self.n_step - 1) * self.envs):
            raise ValueError(
                f"--learning-starts {self.learning_starts} ends before --n-step {self.n_step} frames of each of "
                f"--envs {self.envs}: give at least {least + 1}"
            )
        if self.buffer // self.envs < self.n_step + self.stack + 1:
            raise ValueError(f"--buffer {self.buffer} is too small for --envs {self.envs}: give more frames")
        if self.hindsight and (several := [name for name in ("n_step", "stack") if getattr(self, name) > 1]):
            single = " and ".join(f"{flag(name)} 1" for name in several)
            raise ValueError(f"--hindsight changes single steps: give {single}")
        if self.hindsight and self.vector == "async":
            raise ValueError("--hindsight asks an environment of this process for rewards: give --vector sync")
        if self.hindsight and self.atoms > 1 and None in (self.value_min, self.value_max):
            raise ValueError(
                "--hindsight makes returns that the first rewards do not show: give --atoms a --value-min and a "
                "--value-max, or --atoms 1 --quantiles 50, which need no range"
            )
        if self.algo in CONTINUOUS and self.tau is None:
            raise ValueError(f"--tau none: --algo {self.algo} has no copies of its networks; give a share, as 0.005")
        if self.atoms == 1 and (self.value_min, self.value_max) != (None, None):
            raise ValueError(
                "--value-min and --value-max are the range of --atoms, of which there is one: leave them out"
            )
        if self.atoms > 1 and self.quantiles > 1:
            raise ValueError(
                f"--quantiles {self.quantiles} and --atoms {self.atoms} are two forms of a return's distribution: give "
                f"--atoms 1 or --quantiles 1"
            )
        if self.value_min is not None and self.value_max is not None and self.value_min >= self.value_max:
            raise ValueError("--value-min must be less than --value-max")
        if self.atoms > 1 and self.gamma == 1 and None in (self.value_min, self.value_max):
            raise ValueError("--gamma 1 leaves returns without bounds: give --atoms a --value-min and a --value-max")


def seed_list(text: str) -> list[int]:
    """`0-3,7` -> [0, 1, 2, 3, 7]; raises ValueError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError("must be seeds as 0-9 or 0,3,5")
        if dash and int(first) > int(last):
            raise ValueError(f"{first} is greater than {last}; give the least seed first, as {last}-{first}")
        seeds += range(int(first), int(last or first) + 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError("must be different seeds, as 0-9 or 0,3,5")
    return seeds


class ActSettings(OfRun):
    """How a run's policy acts."""

    stochastic: bool | None = option(
        None, "draw actions from the policy, not the likeliest; none: as the run's evaluations did", group="Evaluation"
    )

    def draws(self, job: TrainRL) -> bool:
        """Whether actions are drawn from the policy of this job."""
        return job.stochastic_eval if self.stochastic is None else self.stochastic


class TuneRL(TuneSettings, TrainRL):
    """`ptapp rl tune`."""

    left_out = TuneSettings.left_out | {"parallel"}  # runs of --seeds at a time
    job: ClassVar[type[TrainRL]] = TrainRL
    first: ClassVar[tuple[str, ...]] = (*TuneSettings.own, *TrainRL.first)


class EvaluateRL(ActSettings):
    """`ptapp rl evaluate`."""

    episodes: int = option(100, "episodes to play", group="Evaluation", ge=1)
    seed: int = option(0, "seed of the environments, apart from those of training", group="Evaluation", ge=0, lt=2**31)
    device: str = option("cpu", "auto, cpu, cuda, cuda:N or mps", group="Device")


class RecordRL(ActSettings):
    """`ptapp rl record`."""

    seed: int = option(0, "seed of the episode", group="Evaluation", ge=0, lt=2**31)
    out: Path | None = option(None, "GIF or MP4 to write; none: report/episode.gif of the run", group="Output")
    length: int = option(1_000, "frames at most", group="Output", ge=1)
    width: int = option(320, "pixels across", group="Output", ge=16, le=4096)

    @field_validator("out")
    @classmethod
    def _form_is_known(cls, out: Path | None) -> Path | None:
        if out is not None and out.suffix.lower() not in (".gif", ".mp4"):
            raise ValueError("must end in .gif or .mp4")
        return out


class PlayRL(ActSettings):
    """`ptapp rl play`."""

    episodes: int = option(3, "episodes to play", group="Evaluation", ge=1)
    seed: int = option(0, "seed of the first episode", group="Evaluation", ge=0, lt=2**31)


class ExportRL(ExportSettings):
    """`ptapp rl export`."""
