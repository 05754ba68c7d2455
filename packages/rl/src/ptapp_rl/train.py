"""`ptapp rl train`: environments, model, task and source for the loop, and a report at its end."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

import torch
from torch import nn

from ptapp_core.fit import fit
from ptapp_core.jobs import run_of, runtime_of, schedule_of
from ptapp_core.milestones import Evaluate
from ptapp_core.optim import build_optimizer
from ptapp_core.ranks import relaunch
from ptapp_core.report import curves
from ptapp_core.run import read_json
from ptapp_core.runtime import Runtime
from ptapp_rl.algos import build, exploration_note, frames_per_step, model_card, plan_of, task_and_source, tuning
from ptapp_rl.config import TrainRL
from ptapp_rl.envs import limit_note, resolve
from ptapp_rl.evaluate import evaluation_environments, figures, play, report
from ptapp_rl.vector import Environments


def train(settings: TrainRL) -> None:
    """Trains a policy as the settings say, and leaves a run directory with its record, weights and report."""
    if relaunch(settings.nproc):
        return
    runtime = runtime_of(settings)
    name = resolve(settings.env, None if settings.resume is None else read_json(settings.resume / "meta.json"))
    count = settings.envs // runtime.world
    environments = Environments(
        name, count, seed=settings.seed, first=count * runtime.rank, vector=settings.vector, stack=settings.stack
    )
    card = model_card(settings, environments)
    torch.manual_seed(settings.seed)
    model = build(card).to(runtime.device)
    plan = plan_of(settings)
    optimizer = build_optimizer(
        model,
        settings.optimizer,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
    )
    schedule = schedule_of(settings, optimizer, plan)
    about = {"domain": "rl", "data": name, "env": name, "model": card}
    short = name.rpartition("/")[2].lower()
    with run_of(settings, runtime, f"rl-{settings.algo}", short, about) as run:
        run.say(f"environment: {name}, {settings.envs} at once; on resume: {_RESUMES[environments.way]}")
        if note := limit_note(name):
            run.say(note)
        run.say(f"model: {settings.algo}, {sum(p.numel() for p in model.parameters()):,} parameters; {runtime}")
        if tuned := tuning(settings):
            run.say(f"tuned for {name}: {tuned}")
        task, source = task_and_source(settings, model, environments, runtime, run.say)
        run.say(
            f"plan: {plan.steps:,} steps of {frames_per_step(settings):g} frames ({settings.frames:,} frames), "
            f"batch {settings.batch_size}, evaluation every {min(plan.eval_every or plan.steps, plan.steps):,}"
        )
        if note := exploration_note(settings):
            run.say(note)
        run.say(f"run: {run.path}")
        evaluation = _evaluation(settings, name, runtime, keep=environments.way != "reset")
        with closing(environments), evaluation as evaluate:
            fit(plan, runtime, run, task, source, optimizer, schedule, evaluate)
        if runtime.is_main:
            curves(run.path / "metrics.jsonl", run.path / "report" / "curves.png")
            with closing(evaluation_environments(settings, name, settings.test_episodes, seed=1)) as tested:
                returns = play(model, tested, settings.test_episodes, runtime)
            report(returns, run.path / "report", run.say)
    runtime.close()


_RESUMES = {
    "plain": "play on exactly",
    "replay": "play on exactly, by replaying the episode's actions",
    "reset": "environments are reset, for their state cannot be saved",
}


@contextmanager
def _evaluation(settings: TrainRL, name: str, runtime: Runtime, keep: bool) -> Iterator[Evaluate]:
    """The same episodes at each evaluation, on every rank, so that all choose the same best.

    Environments are kept from one to the next, but made anew where their episodes may have traces of those before: a
    resumed job must find what the job that was not killed does.
    """
    with ExitStack() as opened:
        kept: list[Environments] = []

        def evaluate(model: nn.Module) -> Mapping[str, float]:
            if kept and keep:
                kept[0].restart()
            else:
                opened.close()
                new = evaluation_environments(settings, name, settings.eval_episodes)
                kept[:] = [opened.enter_context(closing(new))]
            returns = play(model, kept[0], settings.eval_episodes, runtime)
            return {key: value for key, value in figures(returns).items() if key in ("return", "iqm")}

        yield evaluate
