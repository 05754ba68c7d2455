"""`ptapp rl train`: environments, model, task and source for the loop, and a report at its end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

import torch
from torch import nn

from ptapp_core.cli.ranks import relaunch
from ptapp_core.errors import UserError
from ptapp_core.fit import fit
from ptapp_core.jobs import run_of, runtime_of, schedule_of
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.machine.memory import within_memory
from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.terminal import tell
from ptapp_core.runs.checkpoint import has_checkpoint
from ptapp_core.runs.run import read_json
from ptapp_core.runs.typed import checked
from ptapp_core.settings.auto import continued
from ptapp_rl.algos.build import build, exploration_note, frames_per_step, plan_of, task_and_source, tuning
from ptapp_rl.card import About, card_of
from ptapp_rl.config import TrainRL
from ptapp_rl.envs.forms import MASK
from ptapp_rl.envs.names import limit_note, refuse_code_of, resolve, say_code_of
from ptapp_rl.envs.vector import Environments
from ptapp_rl.evaluate import budget_of, evaluation_environments, figures, play, policy_of, report
from ptapp_rl.hints import nothing_learned
from ptapp_rl.seeds import train_seeds
from ptapp_rl.weights import begin_with


def train(settings: TrainRL) -> None:
    """Trains a policy as the settings say, or one for each seed."""
    if settings.seeds is None:
        train_once(settings)
    else:
        train_seeds(settings)


def train_once(settings: TrainRL) -> None:
    """Leaves a run directory with record, weights and report."""
    if relaunch(settings.ranks):
        return
    settings = continued(settings, f"rl-{settings.algo}")
    runtime = runtime_of(settings)
    if settings.resume is not None:
        refuse_code_of(settings.resume, **settings.own_code())
        if runtime.is_main:
            say_code_of(tell, **settings.own_code())
    before = {} if settings.resume is None else read_json(settings.resume / "meta.json")
    name = resolve(settings.env, before.get("env"), wrap=settings.wrap)
    if settings.envs % runtime.world or settings.batch_size % runtime.world:
        raise UserError(f"--envs and --batch-size must be multiples of the {runtime.world} ranks")
    if settings.lstm is not None and settings.batch_size % (settings.rollout * runtime.world):
        raise UserError(
            f"--batch-size {settings.batch_size}: --lstm learns from whole sequences of --rollout {settings.rollout} "
            f"frames on {runtime.world} ranks: give a multiple of {settings.rollout * runtime.world}"
        )
    count = settings.envs // runtime.world
    if settings.trial and runtime.is_main:
        tell(f"trial: two of {name} are played, to see how it resumes (--no-trial leaves this out)")
    environments = Environments(
        name,
        count,
        seed=settings.seed,
        first=count * runtime.rank,
        vector=settings.vector,
        stack=settings.stack,
        limit=settings.max_episode_steps,
        trial=settings.trial,
        masked=settings.resume is None or checked(settings.resume / "meta.json", before, About).model.masked,
    )
    card = card_of(settings, environments)
    torch.manual_seed(settings.seed)
    with within_memory():
        model = build(card)
    begins = ""
    if settings.weights is not None and not has_checkpoint(settings.resume):
        begins = begin_with(model, card, settings.weights)
    model = runtime.place(model)
    plan = plan_of(settings)
    optimizer = build_optimizer(
        model,
        settings.optimizer,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        averaged=settings.average != "none",
    )
    schedule = schedule_of(settings, optimizer, plan)
    about = {"domain": "rl", "data": name, "env": name, "model": card.stored()}
    short = name.rpartition("/")[2].lower()
    with run_of(settings, runtime, f"rl-{settings.algo}", data=short, about=about) as run:
        resumes = _RESUMES[environments.way] if settings.trial else "they begin new episodes"
        run.say(f"environment: {name}, {settings.envs} at once; on resume: {resumes}")
        if card.masked:
            run.say(f"actions: those that the {MASK} of {name} forbids are never chosen; exports have it as an input")
        if settings.one_instance:
            run.say("one instance serves training and evaluation: training begins a new episode after each evaluation")
        if note := limit_note(name, settings.max_episode_steps):
            run.say(f"{note}; an evaluation begins no more of them once it took as many frames as training before it")
        run.say(f"model: {settings.algo}, {sum(p.numel() for p in model.parameters()):,} parameters; {runtime}")
        if begins:
            run.say(begins)
        if tuned := tuning(settings):
            run.say(f"tuned for {name}: {tuned}")
        with within_memory("what a rollout or replay keeps"):
            task, source = task_and_source(settings, model, environments, runtime=runtime, say=run.say)
        run.say(
            f"plan: {plan.steps:,} steps of {frames_per_step(settings):g} frames ({settings.frames:,} frames), "
            f"batch {settings.batch_size}, evaluation every {min(plan.eval_every or plan.steps, plan.steps):,}"
        )
        if note := exploration_note(settings):
            run.say(note)
        run.say(f"run: {run.path}")
        keep = environments.way != "reset" or not settings.trial
        evaluation = _evaluation(settings, name, runtime, keep=keep, masked=card.masked)
        if settings.one_instance:
            evaluation = _evaluation_between(
                settings, environments, runtime, begin_again=source.begin_again, masked=card.masked
            )
        with closing(environments), evaluation as evaluate:
            fit(plan, runtime, run, task=task, source=source, optimizer=optimizer, schedule=schedule, evaluate=evaluate)
        if runtime.is_main:
            from ptapp_core.measure.report import curves  # drawing takes a second to import

            curves(run.path / "metrics.jsonl", run.path / "report" / "curves.png")
            budget, episodes = budget_of(settings, name), settings.test_episodes
            tested = evaluation_environments(settings, name, episodes, seed=1, budget=budget, masked=card.masked)
            with closing(tested):
                policy = policy_of(model, settings.stochastic_eval, seed=1)
                returns = play(policy, tested, episodes, runtime=runtime, budget=budget)
            drawn = settings.stochastic_eval
            report(returns, run.path / "report", stochastic=drawn, asked=episodes, say=run.say)
            learns_anew = settings.weights is None  # else the policy may have been perfect
            if learns_anew and (note := nothing_learned(settings.algo, run.path / "metrics.jsonl", returns)):
                run.say(note)
    runtime.close()


_RESUMES = {
    "plain": "play on exactly",
    "replay": "play on exactly, by replaying the episode's actions",
    "reset": "environments are reset, for their state cannot be saved",
}


@contextmanager
def _evaluation(settings: TrainRL, name: str, runtime: Runtime, *, keep: bool, masked: bool) -> Iterator[Evaluate]:
    """The same episodes at each evaluation, on every rank, so that all choose the same best.

    Environments are kept from one to the next, but made anew where their episodes may have traces of those before: a
    resumed job must find what the job that was not killed does.
    """
    budget, episodes = budget_of(settings, name, settings.eval_every), settings.eval_episodes
    with ExitStack() as opened:
        kept: list[Environments] = []

        def evaluate(model: nn.Module) -> Mapping[str, float]:
            if kept and keep:
                kept[0].restart()
            else:
                opened.close()
                new = evaluation_environments(settings, name, episodes, budget=budget, masked=masked)
                kept[:] = [opened.enter_context(closing(new))]
            policy = policy_of(model, settings.stochastic_eval, seed=0)
            return _watched(play(policy, kept[0], episodes, runtime=runtime, budget=budget))

        yield evaluate


@contextmanager
def _evaluation_between(
    settings: TrainRL, environments: Environments, runtime: Runtime, *, begin_again: Callable[[], None], masked: bool
) -> Iterator[Evaluate]:
    """Evaluates in the one instance that training has, which then begins a new episode there."""
    name, episodes = environments.name, settings.eval_episodes
    budget = budget_of(settings, name, settings.eval_every)

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        lent = environments.instance
        borrowed = evaluation_environments(settings, name, episodes, budget=budget, instance=lent, masked=masked)
        with closing(borrowed):
            policy = policy_of(model, settings.stochastic_eval, seed=0)
            returns = play(policy, borrowed, episodes, runtime=runtime, budget=budget)
        begin_again()
        return _watched(returns)

    yield evaluate


def _watched(returns: list[float]) -> dict[str, float]:
    """The figures that may choose the best checkpoint."""
    found = figures(returns)
    return {name: found[name] for name in ("return", "iqm")}
