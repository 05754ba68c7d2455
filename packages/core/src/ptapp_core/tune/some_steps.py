"""The settings of a command that trains for some steps, to find a setting of `train`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from ptapp_core.settings.base import Settings


class SomeSteps(Settings):
    """Settings of `train` less those that are `left_out`, and `steps` of its own.

    A file of `train` may have all of them: its steps are those of its job, and the others have no effect here.
    """

    @classmethod
    def resolve(cls, config: Path | None, options: Mapping[str, object]) -> Self:
        """Resolves as `train` does, with the defaults of what has no effect, and of steps that no option gives."""
        settings, fields = super().resolve(config, options), cls.model_fields
        unused = (fields.keys() & cls.left_out) | ({"steps"} - options.keys())
        return settings.model_copy(
            update={name: fields[name].get_default(call_default_factory=True) for name in unused}
        )
