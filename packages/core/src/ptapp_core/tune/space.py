"""What is tried: a range or choices for each setting, read from words of the command line or a TOML file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptapp_core.errors import UserError, nearest, placed
from ptapp_core.settings.fields import Kind, group_of, kind
from ptapp_core.settings.toml import line_of, read_toml, toml_value
from ptapp_core.settings.train import JobSettings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_RANGE = re.compile(r"(\S+?)\s*\.\.\s*(\S+)(\s+log)?")
_NOT_HOW = ("Run", "Device", "Record")
"""Groups of settings that do not say how a model learns; and others that do not."""
_WHAT = frozenset(
    (
        *("data", "skip_bad", "split", "allow_duplicates", "group_column", "label_column", "text_column", "task"),
        *("encoding", "pair", "text_per", "val", "split_by", "cache", "env", "trial", "max_episode_steps"),
        *("patience", "monitor", "folds", "fold", "seeds"),
    )
)
_IN_THE_LOSS = frozenset(("loss", "task_weights", "label_smoothing", "balance"))
_IN_THE_TOKENS = frozenset(("tokenizer", "vocab", "lower", "least"))
_OF_TOKENS = {
    "generate": "give --monitor bits_per_character",
    "translate": "train a run for each, and compare their bleu and chrf",
}
"""The tasks whose figures are by token, and what compares tokenizers there."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both are `int`."""

    low: float
    high: float
    log: bool

    def __str__(self) -> str:
        return f"{self.low!r}..{self.high!r}{' log' if self.log else ''}"

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values that must be possible."""
        return self.low, self.high

    def distribution(self) -> "BaseDistribution":
        """Optuna's form of it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def value(self, suggested: Any) -> Any:
        """The value of the setting for what Optuna suggests."""
        return suggested


@dataclass(frozen=True)
class Choices:
    """Values without an order."""

    examples: tuple[Any, ...]

    def __str__(self) -> str:
        return ",".join(self._names)

    @property
    def _names(self) -> tuple[str, ...]:
        """The values as Optuna has them: a storage keeps no lists."""
        return tuple(value if isinstance(value, str) else toml_value(value) for value in self.examples)

    def distribution(self) -> "BaseDistribution":
        """Optuna's form of it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self._names)

    def value(self, suggested: Any) -> Any:
        """The value of the setting for what Optuna suggests."""
        return self.examples[self._names.index(suggested)]


Space = Mapping[str, Range | Choices]
"""By the name of the setting."""


def read_space(words: Sequence[str], job: type[JobSettings], given: Mapping[str, Any]) -> Space:
    """What `--space` says, for settings of `job`; each end and each choice is a value that it takes with those `given`.

    Raises:
        UserError: a setting is unknown, cannot be tuned or stands there twice, or a value is out of bounds.
    """
    space: dict[str, Range | Choices] = {}
    for word in words:
        name, equals, text = word.partition("=")
        items = [(f"--space {word}", name, text)] if equals else _of_file(Path(word))
        for where, name, found in items:
            with placed(where):
                name = name.strip().lstrip("-").replace("-", "_")
                if name in space:
                    raise UserError(f"{name} stands there twice: leave one of them out")
                dimension = _dimension(_tunable(name, job, given), found)
                typed = [getattr(job.resolve(None, {**given, name: each}), name) for each in dimension.examples]
                space[name] = Choices(tuple(typed)) if isinstance(dimension, Choices) else dimension
    return space


def _of_file(path: Path) -> list[tuple[str, str, Any]]:
    """Where each setting of a TOML file stands, its name, and what it is given."""
    text, table = read_toml(path)
    if not table:
        raise UserError(f'{path}: nothing is to be tried: write a line for each setting, such as lr = "1e-4..1e-2 log"')
    return [(f"{path}:{line_of(name, text)}: {name}", name, found) for name, found in table.items()]


def _tunable(name: str, job: type[JobSettings], given: Mapping[str, Any]) -> Kind:
    """The kind of a setting that says how a model learns; raises UserError for others."""
    field = job.model_fields.get(name)
    if field is None:
        raise UserError(f"unknown setting {name!r}{nearest(name, job.model_fields)}")
    if name in job.may_change | _WHAT or group_of(field) in _NOT_HOW:
        raise UserError(f"{name} cannot be tuned: it says what, where or how long a job learns, not how")
    monitor, task = str(given.get("monitor")).rpartition("/")[2], given.get("task")
    if name in _IN_THE_TOKENS and task in _OF_TOKENS and monitor in ("loss", "accuracy", "perplexity"):
        raise UserError(
            f"{name} changes the tokens, of which --monitor {monitor} is the mean, so trials could not be compared: "
            f"{_OF_TOKENS[task]}"
        )
    if name in _IN_THE_LOSS and monitor == "loss":
        raise UserError(f"{name} changes what --monitor loss measures, so trials could not be compared")
    return kind(field)


def _dimension(what: Kind, found: Any) -> Range | Choices:
    """A range or choices for a setting of this kind."""
    if isinstance(found, str) and (ends := _RANGE.fullmatch(found.strip())):
        return _range(what, *ends.groups())
    values = [part.strip() for part in found.split(",")] if isinstance(found, str) else found
    if not isinstance(values, list):
        raise UserError('give a range, such as "1e-4..1e-2 log", or a list of choices')
    if what.many and isinstance(found, str):
        raise UserError("its values are lists, which a TOML file can give: hidden = [[64, 64], [256]]")
    choices = Choices(tuple(values))
    if len(values) < 2 or len(set(choices._names)) < len(values) or "" in values:
        raise UserError("give LOW..HIGH, or two or more different choices with commas")
    return choices


def _range(what: Kind, low: str, high: str, log: str | None) -> Range:
    if what.base not in (int, float) or what.many:
        raise UserError("only a number has a range: give choices with commas")
    try:
        ends = Range(what.base(low), what.base(high), log is not None)
    except ValueError:
        raise UserError(f"a range of {'whole ' * (what.base is int)}numbers is LOW..HIGH, or LOW..HIGH log") from None
    if not ends.low < ends.high:  # NaN, too
        raise UserError(f"{low} is not below {high}")
    if log and ends.low <= 0:
        raise UserError(f"a logarithmic range begins above 0, not at {low}")
    return ends
