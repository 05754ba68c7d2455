"""Classes that their files tell apart by more than their content: by rate, length or size alone."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

from ptapp_core.errors import counted


def telltale(labels: Sequence[int], values: Sequence[Hashable], classes: Sequence[str], *, what: str) -> str | None:
    """A line for the user where a value marks a class: all its samples have the same one, and no other class has it.

    Args:
        labels, values: of each sample.
        classes: names of the classes; those of one sample alone mark nothing.
        what: the kind of value with a place for it, as `a rate of {} Hz`.
    """
    of_class: dict[int, list[Hashable]] = defaultdict(list)
    owners: dict[Hashable, set[int]] = defaultdict(set)
    for label, value in zip(labels, values, strict=True):
        of_class[label].append(value)
        owners[value].add(label)
    marked = [
        label
        for label, own in sorted(of_class.items())
        if len(own) > 1 and len(set(own)) == 1 and owners[own[0]] == {label} and len(of_class) > 1
    ]
    if not marked:
        return None
    first = marked[0]
    more = f" (and {counted(len(marked) - 1, 'class')} more in the same way)" if len(marked) > 1 else ""
    return (
        f"class {classes[first]!r} alone has {what.format(of_class[first][0])}, in all its files{more}: the model may "
        "learn that in place of the content, and the figures be too good"
    )
