"""Which sample was in which split of a run: `samples.csv` in its directory."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import NamedTuple, Self, cast
from unicodedata import normalize

from ptapp_core.data.split import SPLITS, Samples, SplitName
from ptapp_core.errors import UserError

FILE = "samples.csv"
_COLUMNS = ["split", "id", "label", "group", "digest"]
_SHOWN = 3  # samples that a message names


class Member(NamedTuple):
    """A sample of a run, as a row of `samples.csv`."""

    split: SplitName
    id: str
    label: str
    """The name of its class, or a digest of its tags; empty where the content says all."""
    group: str
    digest: str


def _composed(name: str) -> str:
    """A name with its accents composed: a copy of the data on another file system may have them decomposed."""
    return normalize("NFC", name)


@dataclass(frozen=True)
class Members:
    """The samples of a run, each split in the order of the data."""

    rows: Sequence[Member]
    places: Mapping[str, str] = field(default_factory=dict, compare=False)
    """`FILE:ROW` by id of the samples whose content is their id; empty for those that were read from a run."""

    @classmethod
    def of(cls, parts: Iterable[tuple[SplitName, Samples, Sequence[str]]]) -> Self:
        """The samples of each split with their labels, for which an empty sequence may stand."""
        parts = list(parts)
        places = {
            samples.ids[row]: samples.names[row]
            for _, samples, _ in parts
            for row in range(len(samples))
            if samples.digests and samples.ids[row] == samples.digests[row]
        }
        return cls(
            [
                Member(
                    split,
                    _composed(samples.ids[row]),
                    labels[row] if labels else "",
                    _composed(samples.groups[row]) if samples.groups else "",
                    samples.digests[row] if samples.digests else "",
                )
                for split, samples, labels in parts
                for row in range(len(samples))
            ],
            places,
        )

    @classmethod
    def read(cls, run: Path) -> Self | None:
        """The samples of a run directory; None for a run that was stopped before it wrote them.

        Raises UserError, naming the file and line, where it is no such table, or is gone from a run with checkpoints.
        """
        file = run / FILE
        try:
            with file.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
                header, *rows = list(csv.reader(stream)) or [[]]
        except FileNotFoundError:
            if any(run.glob("checkpoints/step-*")):
                raise UserError(f"{file}: is missing, and says who was in which split; restore it") from None
            return None
        except (OSError, csv.Error) as error:
            raise UserError(f"{file}: cannot be read ({error})") from error
        for number, row in enumerate(rows or [[]], start=2):
            if header != _COLUMNS or len(row) != len(_COLUMNS) or row[0] not in SPLITS:
                raise UserError(f"{file}:{number}: not a row of {','.join(_COLUMNS)}; the file was changed")
        return cls([Member(cast(SplitName, row[0]), *row[1:]) for row in rows])

    def text(self) -> str:
        """The table as CSV."""
        out = StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(self.rows)
        return out.getvalue()

    def part(self, split: str) -> list[Member]:
        """The samples of a split; `all` is all of them."""
        return [row for row in self.rows if split in (row.split, "all")]

    @cached_property
    def _splits(self) -> dict[tuple[str, str], SplitName]:
        """The split by id, by digest and by group."""
        found: dict[tuple[str, str], SplitName] = {}
        for row in self.rows:
            for kind in ("id", "digest", "group"):
                if value := getattr(row, kind):
                    found.setdefault((kind, value), row.split)
        return found

    def split_of(self, samples: Samples, row: int) -> SplitName | None:
        """Where a sample was: by its id, else its content (it was renamed), else its group; None for a new one."""
        for kind, column in (("id", samples.ids), ("digest", samples.digests), ("group", samples.groups)):
            if column and (split := self._splits.get((kind, _composed(column[row])))):
                return split
        return None

    def joined(self, before: "Members | None") -> "Members":
        """These samples, and those of `before` that are not there any more."""
        if before is None:
            return self
        known = {row.id for row in self.rows}
        return Members([*self.rows, *(row for row in before.rows if row.id not in known)], self.places)

    def learned(self, rows: Iterable[Member]) -> int:
        """How many of the samples are among those that this run trains on, by their content."""
        trained = {row.digest or row.id for row in self.part("train")}
        return sum((row.digest or row.id) in trained for row in rows)

    def relabelled(self, rows: Iterable[Member]) -> list[Member]:
        """The samples that this run has, by their content, under other labels alone."""
        labels: dict[str, set[str]] = {}
        for row in self.rows:
            labels.setdefault(row.digest or row.id, set()).add(row.label)
        return [row for row in rows if row.label not in labels.get(row.digest or row.id, {row.label})]

    def changed(self, split: str, rows: Iterable[Member]) -> tuple[int, int]:
        """How many of the samples are not in this run's split, and how many of those are not among them.

        By their content, so that a sample which was renamed is the same.
        """
        now, then = (Counter(row.digest or row.id for row in each) for each in (rows, self.part(split)))
        return (now - then).total(), (then - now).total()

    def place_of(self, row: Member, before: "Members | None" = None) -> str:
        """What a user can find a sample by: its id, or `FILE:ROW` for one that its content alone tells apart.

        One of those that is there no more is named by the row which stood above it in `before`, and still does.
        """
        if row.id != row.digest or row.id in self.places or not self.places:
            return self.places.get(row.id, row.id)
        above: str | None = None
        for each in before.part(row.split) if before else ():
            if each == row:
                break
            above = self.places.get(each.id, above)
        return f"below {above}" if above else "above the first"

    def refuse_changed_training(self, run: Path, now: "Members") -> None:
        """Raises UserError, naming what changed, where the training samples of now are not those of this run."""
        old, new = self.part("train"), now.part("train")
        gone = Counter(row.id for row in old) - Counter(row.id for row in new)
        added = Counter(row.id for row in new) - Counter(row.id for row in old)
        content = {row.id: row.digest for row in old}
        changed = [row.id for row in new if content.get(row.id, row.digest) != row.digest]
        known = {row.id for row in old} - added.keys()  # samples of one content may have several labels
        labelled = Counter((row.id, row.label) for row in new) - Counter((row.id, row.label) for row in old)
        relabelled = [id for id, _ in labelled if id in known]
        found = {
            "missing": list(gone),
            "new": list(added),
            "of other content": changed,
            "with another label": relabelled,
        }
        of_id = {row.id: row for row in (*old, *new)}
        said = [
            f"{len(ids):,} {what} ({', '.join(now.place_of(of_id[id], self) for id in ids[:_SHOWN])})"
            for what, ids in found.items()
            if ids
        ]
        if not said and [row.id for row in old] != [row.id for row in new]:
            said = ["the same samples, in another order"]
        if said:
            raise UserError(
                f"--resume {run}: the training samples changed: {', '.join(said)}; restore them, or start a new run"
            )
