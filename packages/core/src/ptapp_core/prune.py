"""`prune`: a run's network loses channels or single weights, and becomes a run of its own."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ptapp_core.cli.main import require_extra
from ptapp_core.compress.channels import remove_channels, zero_weights
from ptapp_core.data.split import SPLITS
from ptapp_core.domain import AnyDomain, AnyJob, Job, about_of
from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained, data_name, run_of
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.widths import widths_of
from ptapp_core.runs.log import EVALUATED, JsonLines
from ptapp_core.settings.after_training import PruneSettings

_TRIED = 4  # inputs on which the channels are followed, and outputs compared
_BEGINNINGS = ("weights", "pretrained")  # settings of a job's first weights, which are now those of the pruned run


def prune(domain: AnyDomain, settings: PruneSettings) -> Path:
    """Writes a new run of the pruned model, with what it lost, and what that costs on the validation split.

    The new run has no state of a training: it is fine-tuned by a job that starts from its weights. Raises UserError
    where the network cannot be pruned, or was trained with `--qat`.
    """
    if not settings.unstructured:
        require_extra(f"{domain.name} prune", "prune")
    trained = Trained.find(settings.run, domain.name, domain.about, which=settings.checkpoint)
    if trained.about.qat:
        raise UserError(
            f"{settings.run}: was trained with --qat, whose ranges are those of all its channels: prune the run that "
            "it began with, and train with --qat after that"
        )
    job = _job_of(domain, settings, trained)
    network, example = job.model.network, _example_of(domain, job)
    before = {**_sizes(network, example), **_figures(domain, job)}
    try:
        if settings.unstructured:
            zero_weights(network, settings.share)
        else:
            remove_channels(network, example, settings.share)
            job.card = job.card.with_widths(widths_of(network))
    except UserError as error:
        raise UserError(f"{settings.run}: {error}") from error
    after = {**_sizes(network, example), **_figures(domain, job)}
    asked = {"share": settings.share, "unstructured": settings.unstructured}
    path = _write(domain, job, {"of": str(trained.checkpoint.resolve()), **asked, "before": before, "after": after})
    print("\n".join([*_table(before, after), f"run: {path}", *_notes(domain, path, settings)]))
    return path


def _job_of(domain: AnyDomain, settings: PruneSettings, trained: Trained[Any]) -> AnyJob:
    """The job of a run, as it would begin from the weights of the pruned one, with the trained model."""
    card = trained.about.model
    before = domain.of_run(settings.run, card)
    changed: dict[str, Any] = {"run_dir": settings.run_dir, "name": settings.name, "began_with": {}}
    if not settings.unstructured:
        fields = type(before).model_fields
        changed |= {name: fields[name].get_default() for name in _BEGINNINGS if name in fields}
    runtime = Runtime(settings.device, settings.precision)
    data = domain.load(before, runtime, trained=trained)
    model = trained.load(domain.rebuild)
    parts: dict[str, Any] = {name: domain.prepare(data, name, model, card=card) for name in SPLITS}
    return Job(
        settings=before.model_copy(update=changed), runtime=runtime, data=data, model=model, card=card, parts=parts
    )


def _example_of(domain: AnyDomain, job: AnyJob) -> Tensor:
    """Noise in the form of the network's inputs, float32 (4, ...), which are normalised."""
    seen: list[Tensor] = []
    sample = domain.sample(job)
    assert sample is not None
    hook = job.model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        job.model(sample)
    hook.remove()
    return torch.randn(_TRIED, *seen[0].shape[1:], generator=torch.Generator().manual_seed(0))


def _sizes(network: nn.Module, example: Tensor) -> dict[str, int]:
    """Parameters of a network, those of them that are not zero, and the multiplications of one input of (4, ...)."""
    parameters = [each.detach() for each in network.parameters()]
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        network.eval()(example[:1])
    return {
        "parameters": sum(each.numel() for each in parameters),
        "not zero": sum(int(each.count_nonzero()) for each in parameters),
        "MACs": counted.get_total_flops() // 2,
    }


def _figures(domain: AnyDomain, job: AnyJob) -> dict[str, float]:
    """The figures of the validation split; none where the run has no such samples."""
    if not len(job.parts["val"]):
        return {}
    job.model.to(job.runtime.device)
    with torch.no_grad():
        found = domain.evaluation(job, domain.loss(job))(job.model.eval())
    job.model.cpu()
    return {f"{EVALUATED}{name}": value for name, value in found.items()}


def _write(domain: AnyDomain, job: AnyJob, pruned: Mapping[str, Any]) -> Path:
    """Leaves a run with the weights of the model, its figures and what else an export needs."""
    with run_of(
        job.settings,
        job.runtime,
        domain.job_name(job.settings),
        data=f"{data_name(job.settings, domain.built_in)}-pruned",
        about={**about_of(domain, job), "pruned": pruned},
        members=job.data.members,
    ) as run:
        domain.begin(run, job.data)
        record = JsonLines(run.path / "metrics.jsonl", 0)
        record.write(0, {name: value for name, value in pruned["after"].items() if name.startswith(EVALUATED)})
        record.close()
        run.checkpoints.save(0, {"model": job.model}, {}, best=True)
        domain.end(run, job.data)
    return run.path


def _table(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """A line for each number, before and after."""
    lines = [f"{'':<20}{'before':>16}{'after':>16}   ratio"]
    for name, old in before.items():
        new = after[name]
        shown = [f"{each:>16,}" if isinstance(each, int) else f"{each:>16.4f}" for each in (old, new)]
        lines.append(f"{name:<20}{''.join(shown)}" + (f"   {new / old:5.3f}" if isinstance(old, int) else ""))
    return lines


def _notes(domain: AnyDomain, path: Path, settings: PruneSettings) -> list[str]:
    """What the user can expect of the new run, and do with it."""
    if settings.unstructured:
        return ["note: no time is saved, for zeros are multiplied too; fine-tuning would give them other values"]
    words = ["ptapp", domain.name, "train", "--config", str(path / "config.toml"), "--weights", str(path)]
    return [f"fine-tune it: {shlex.join(words)}"]
