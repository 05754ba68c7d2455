"""Options that would do nothing: each is for something, and is refused where a job has nothing of the kind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple


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
    Only(("average_decay",), lambda job: job.average == "ema", "--average ema"),
)
OF_DATA = (
    Only(("skip_bad", "split", "allow_duplicates"), lambda job: job.data is not None, "data of your own (--data)"),
)


def idle(settings: Any, rules: Sequence[Only], usual: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The options that do nothing in a job and yet have a value of the user's, each with what it is for.

    A value is the user's where it is neither the default of its field nor the `usual` one of such jobs.
    """
    fields = type(settings).model_fields
    for rule in rules:
        if not rule.when(settings):
            for name in rule.names:
                default = fields[name].get_default()
                if getattr(settings, name) not in (default, usual.get(name, default)):
                    yield name, rule.what
