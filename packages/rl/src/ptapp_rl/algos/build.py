"""Makes an algorithm's parts from settings: the model's card, the task, the source, and the plan in optimizer steps."""

from collections.abc import Callable
from textwrap import TextWrapper
from typing import Any

from torch import nn

from ptapp_core.machine.runtime import Runtime
from ptapp_core.plan import Plan, logged_every
from ptapp_core.settings.fields import flag
from ptapp_core.task import Task
from ptapp_rl.algos.a2c import A2C
from ptapp_rl.algos.ddpg import DDPG
from ptapp_rl.algos.dqn import DQN, Experience, ExperienceConfig
from ptapp_rl.algos.ppo import PPO
from ptapp_rl.algos.reinforce import Reinforce
from ptapp_rl.algos.sac import SAC, SoftPolicy
from ptapp_rl.algos.td3 import TD3
from ptapp_rl.card import Card
from ptapp_rl.config import OFF_POLICY, VALUES, TrainRL
from ptapp_rl.envs.spaces import FAMILIES, TAKES, action_form, action_note
from ptapp_rl.envs.tuned import DEFAULTS, TUNED, tuned_for
from ptapp_rl.envs.vector import Environments
from ptapp_rl.experience.hindsight import Goals
from ptapp_rl.experience.offpolicy import Explored, OffPolicy, OffPolicyConfig
from ptapp_rl.experience.replay import Replay, bytes_needed, check_memory
from ptapp_rl.experience.rollout import RolloutConfig, Rollouts
from ptapp_rl.experience.sequences import Sequences
from ptapp_rl.models.actor import ActorCritic
from ptapp_rl.models.continuous import Deterministic
from ptapp_rl.models.qnetwork import QNetwork
from ptapp_rl.models.recurrent import Recurrent

ABOUT = {
    "dqn": "Q-learning from replay (Mnih et al. 2015); double, dueling, n-step, prioritised, C51, QR-DQN and noisy "
    "networks by option",
    "rainbow": "DQN with all of these but QR-DQN (Hessel et al. 2018)",
    "reinforce": "policy gradient with whole returns and a baseline (Williams 1992)",
    "a2c": "advantage actor-critic, a step for each short rollout (Mnih et al. 2016)",
    "ppo": "proximal policy optimisation, many steps for each rollout (Schulman et al. 2017)",
    "sac": "soft actor-critic from replay: entropy is part of the return (Haarnoja et al. 2018)",
    "td3": "twin delayed deterministic policy gradient from replay (Fujimoto et al. 2018)",
    "ddpg": "deep deterministic policy gradient from replay (Lillicrap et al. 2016); TD3 is its successor",
}


def build(card: Card) -> nn.Module:
    """A new model of a card."""
    match card.algo:
        case "dqn" | "rainbow":
            return QNetwork(card)
        case "sac":
            return SoftPolicy(card)
        case "td3" | "ddpg":
            return Deterministic(card, critics=2 if card.algo == "td3" else 1)
        case _:
            return ActorCritic(card) if card.lstm is None else Recurrent(card)


def frames_per_step(settings: TrainRL) -> float:
    """Frames of all environments and ranks for each optimizer step."""
    if settings.algo in OFF_POLICY:
        return settings.train_every
    return settings.envs * settings.rollout / _steps_per_rollout(settings)


def plan_of(settings: TrainRL) -> Plan:
    """The job in optimizer steps."""
    per_step = frames_per_step(settings)

    def in_steps(frames: float) -> int:
        return max(1, round(frames / per_step))

    def length(of: TrainRL) -> int:
        if of.algo in OFF_POLICY:
            return in_steps(of.frames - of.learning_starts)
        return rollouts_of(of) * _steps_per_rollout(of)

    scheduled = length(settings.as_begun())
    return Plan(
        steps=length(settings),
        schedule_steps=scheduled,
        warmup=round(settings.warmup * scheduled),
        clip=settings.clip,
        average=settings.average,
        average_decay=settings.average_decay,
        log_every=logged_every(settings, scheduled),
        eval_every=in_steps(settings.eval_every),
        save_every=None if settings.save_every is None else in_steps(settings.save_every),
        monitor=settings.monitor or "return",
        maximise=True,
        patience=settings.patience,
        profile=settings.profile,
    )


def exploration_note(settings: TrainRL) -> str:
    """What a job that is longer or shorter than it began does to the clocks of DQN; empty where it is neither."""
    first = settings.as_begun().frames
    if settings.algo not in VALUES or first == settings.frames:
        return ""
    notes = []
    if not settings.noisy:
        notes.append(f"epsilon falls to {settings.epsilon:g} over the first {round(settings.explore * first):,} frames")
    if settings.prioritised:
        notes.append(f"beta rises to 1 over the first {first:,} frames")
    return f"{', and '.join(notes)}: the job was of {first:,} when it began" if notes else ""


def rollouts_of(settings: TrainRL) -> int:
    """How many rollouts the frames are."""
    return max(1, round(settings.frames / (settings.envs * settings.rollout)))


def _steps_per_rollout(settings: TrainRL) -> int:
    if settings.algo != "ppo":
        return 1
    return settings.passes * (settings.envs * settings.rollout // settings.batch_size)


def task_and_source(
    settings: TrainRL, model: Any, environments: Environments, *, runtime: Runtime, say: Callable[[str], None]
) -> tuple[Task, Rollouts | OffPolicy]:
    """The algorithm's task and source, which the loop needs."""
    if note := action_note(action_form(environments.action_space, environments.name, settings.algo), environments.name):
        say(note)
    if settings.algo in OFF_POLICY:
        return _from_replay(settings, model, environments, runtime=runtime, say=say)
    ppo = settings.algo == "ppo"
    config = RolloutConfig(
        rollouts=rollouts_of(settings),
        length=settings.rollout,
        gamma=settings.gamma,
        gae=settings.gae,
        passes=settings.passes if ppo else 1,
        minibatches=settings.envs * settings.rollout // settings.batch_size if ppo else 1,
        normalise_advantage=settings.normalise_advantage,
        target_kl=settings.target_kl,
        scale_rewards=settings.normalise_rewards,
        seed=settings.seed,
    )
    source = (Rollouts if settings.lstm is None else Sequences)(config, model, environments, runtime=runtime, say=say)
    coefficients = {"value_loss": settings.value_loss, "entropy": settings.entropy}
    if ppo:
        return PPO(model, clip_ratio=settings.clip_ratio, clip_value=settings.clip_value, **coefficients), source
    return (A2C if settings.algo == "a2c" else Reinforce)(model, **coefficients), source


def _from_replay(
    settings: TrainRL, model: Any, environments: Environments, *, runtime: Runtime, say: Callable[[str], None]
) -> tuple[Task, OffPolicy]:
    goals = Goals(settings.hindsight, environments, gamma=settings.gamma) if settings.hindsight else None
    frames = settings.buffer // runtime.world
    numbers = None if settings.algo in VALUES else model.head.noise_size
    needed = bytes_needed(environments.observations, frames, settings.stack, numbers=numbers)
    say(f"replay: {check_memory(needed)}")
    replay = Replay(
        environments.observations,
        frames,
        n_step=settings.n_step,
        gamma=settings.gamma,
        stack=settings.stack,
        priority=settings.priority_exponent if settings.prioritised else None,
        numbers=numbers,
        goals=goals,
    )
    paced: dict[str, int] = {
        "batch_size": settings.batch_size // runtime.world,
        "learning_starts": settings.learning_starts,
        "train_every": settings.train_every,
        "seed": settings.seed,
    }
    if settings.algo in VALUES:
        dqn = DQN(model, double=settings.double, target_every=settings.target_every, tau=settings.tau)
        config = ExperienceConfig(
            **paced,
            frames=settings.as_begun().frames,
            explore=settings.explore,
            epsilon=settings.epsilon,
            beta=settings.priority_correction,
        )
        return dqn, Experience(config, dqn, environments, replay=replay, runtime=runtime, say=say)
    task = _continuous(settings, model)
    paces = OffPolicyConfig(**paced)
    return task, Explored(paces, task, environments, replay=replay, runtime=runtime, say=say)


def _continuous(settings: TrainRL, model: Any) -> SAC | TD3 | DDPG:
    assert settings.tau is not None  # as the settings see to
    if settings.algo == "sac":
        return SAC(model, tau=settings.tau)
    if settings.algo == "ddpg":
        return DDPG(model, tau=settings.tau, action_noise=settings.action_noise)
    return TD3(
        model,
        tau=settings.tau,
        action_noise=settings.action_noise,
        target_noise=settings.target_noise,
        policy_every=settings.policy_every,
    )


def listing() -> str:
    """A paragraph for each algorithm, with what it sets unlike PPO."""
    lines = []
    for name, about in ABOUT.items():
        actions = ", ".join(FAMILIES[kind] for kind in TAKES[name])
        own = _options(DEFAULTS[name])
        paragraphs = [about, f"actions: {actions}", own or "the defaults that `ptapp rl train --help` shows"]
        paragraphs += [f"on {env}: {_options(more)}" for (algo, env), more in TUNED.items() if algo == name]
        fold = TextWrapper(80, initial_indent=" " * 11, subsequent_indent=" " * 11, break_on_hyphens=False)
        text = "\n".join(fold.fill(paragraph).replace("\N{NO-BREAK SPACE}", " ") for paragraph in paragraphs)
        lines.append(f"{name:<11}{text.lstrip()}\n")
    return "\n".join(lines).rstrip()


def tuning(settings: TrainRL) -> str:
    """The options that the environment set, and the user did not change; empty where there are none."""
    tuned = tuned_for(settings.algo, settings.env)
    kept = {name: value for name, value in tuned.items() if getattr(settings, name) == value}
    return typed(kept)


def typed(values: dict[str, Any]) -> str:
    """Options with these values as they are typed."""
    return _options(values).replace("\N{NO-BREAK SPACE}", " ")


def _options(values: dict[str, Any]) -> str:
    return " ".join(_option(name, value) for name, value in values.items())


def _option(name: str, value: Any) -> str:
    """An option as it is typed; a line is not broken inside it."""
    value = "none" if value is None else value
    if isinstance(value, bool):
        return flag(name) if value else flag(name).replace("--", "--no-", 1)
    shown = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return f"{flag(name)}\N{NO-BREAK SPACE}{shown}"
