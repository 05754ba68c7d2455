"""Options that would do nothing: each is for something, and is refused where a job has nothing of the kind."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ptapp_core.errors import UserError


class Only(NamedTuple):
    """Options that do something only in some jobs."""

    names: tuple[str, ...]
    """Fields of the settings."""
    when: Callable[[Any], bool]
    """Whether the job of these settings heeds them."""
    what: str
    """What they are for, in a message: "--schedule polynomial"."""


OF_ANY_JOB = (
    Only(("momentum",), lambda job: job.optimizer in ("sgd", "rmsprop"), "--optimizer sgd and rmsprop"),
    Only(("milestones",), lambda job: job.schedule in ("step", "multistep"), "--schedule step and multistep"),
    Only(
        ("lr_gamma",),
        lambda job: job.schedule in ("step", "multistep", "exponential", "cyclic", "plateau"),
        "--schedule step, multistep, exponential, cyclic and plateau",
    ),
    Only(("power",), lambda job: job.schedule == "polynomial", "--schedule polynomial"),
    Only(
        ("timeout",), lambda job: not job.ranks.one or "WORLD_SIZE" in os.environ, "several ranks (--nproc, --nnodes)"
    ),
    Only(("average_decay",), lambda job: job.average == "ema", "--average ema"),
)
OF_DATA = (
    Only(("skip_bad", "split", "allow_duplicates"), lambda job: job.data is not None, "data of your own (--data)"),
    Only(("shard_ranks",), lambda job: job.parallel == "hsdp", "--parallel hsdp"),
    Only(("lr_base_batch",), lambda job: job.lr_scale != "none", "--lr-scale linear and sqrt"),
)


def refuse_idle(settings: Any, rules: Sequence[Only], usual: Mapping[str, Any]) -> None:
    """Raises UserError for an option that does nothing in a job and yet has a value of the user's.

    A value is the user's where it is neither the default of its field nor the `usual` one of such jobs.
    """
    fields = type(settings).model_fields
    for rule in rules:
        for name in () if rule.when(settings) else rule.names:
            value, default = getattr(settings, name), fields[name].get_default()
            if value not in (default, usual.get(name, default)):
                given = f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
                raise UserError(f"{given} does nothing here: it is for {rule.what}; leave it out")
