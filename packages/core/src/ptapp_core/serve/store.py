"""The models that are served now, and how changed files take their place without losing a request."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ptapp_core.errors import UserError, nearest
from ptapp_core.serve.places import Source, Stamp, all_models, of_version, split_file, stamp
from ptapp_core.serve.session import Model, open_model
from ptapp_core.serve.split import Shares, chosen, read_shares


@dataclass(frozen=True)
class Served:
    """A model that is served: its versions, and which of them answer."""

    name: str
    versions: Mapping[str, Model]
    """In the order of their numbers."""
    shares: Shares
    shadow: str | None
    """The version whose answers are compared with those that are given."""

    def __post_init__(self) -> None:
        for version in (*self.shares, *([self.shadow] if self.shadow else [])):
            if version not in self.versions:
                raise UserError(f"{self.name} has no version {version!r}{nearest(version, self.versions)}")

    def version_for(self, client: str) -> str:
        """The version that answers a client."""
        return chosen(self.shares, self.name, client)


@dataclass
class Store:
    """The models at some places, and what of them is served.

    A request takes a `Served` and keeps it; `refresh` puts others in their place in one assignment, so that a request
    is answered wholly by what it began with.
    """

    places: Sequence[Source]
    shares: Mapping[str, Shares]
    """By model, what the command line asks for; a split file beside the versions has precedence."""
    shadows: Mapping[str, str]
    say: Callable[[str], None]
    """Takes a line on what was changed, or why it was not."""
    models: Mapping[str, Served] = field(default_factory=dict)
    _stamps: dict[str, Stamp] = field(default_factory=dict)
    """Of each model, the state of its files when it was looked at last, also when they could not be served."""
    _versions: dict[tuple[str, str], tuple[Stamp, Model]] = field(default_factory=dict)
    _complaints: dict[str, str] = field(default_factory=dict)
    """Why a model stays as it was, as it was said last."""

    def load(self) -> None:
        """Opens all models; raises UserError where one cannot be served as asked."""
        found = all_models(self.places)
        for name in (*self.shares, *self.shadows):
            if name not in found:
                raise UserError(f"--split and --shadow: there is no model {name!r}{nearest(name, found)}")
        self.models = {name: self._served(name, versions) for name, versions in found.items()}

    def refresh(self) -> None:
        """Takes over what changed on the disk. What cannot be served is said, and that model stays as it was."""
        try:
            found = all_models(self.places)
        except (UserError, OSError) as error:
            self._complain("all models stay", str(error))
            return
        models = dict(self.models)
        for name in models.keys() - found.keys():
            del models[name]
            self._stamps.pop(name, None)
            self.say(f"{name} is gone, and not served any more")
        for name, versions in found.items():
            try:
                if self._stamps.get(name) != _stamp(versions):
                    models[name] = self._served(name, versions)
                    self._complaints.clear()
                    self.say(described(models[name]))
            except (UserError, OSError) as error:
                self._complain(f"{name} stays", str(error))
        self.models = models
        kept = {(name, version) for name, served in models.items() for version in served.versions}
        self._versions = {key: value for key, value in self._versions.items() if key in kept}

    def _complain(self, what: str, reason: str) -> None:
        """Says once what stays as it was, and why."""
        if self._complaints.get(what) != reason:
            self.say(f"{what} as before: {reason}")
        self._complaints[what] = reason

    def _served(self, name: str, versions: Mapping[str, Path]) -> Served:
        self._stamps[name] = _stamp(versions)
        opened = {version: self._opened(name, version, file) for version, file in versions.items()}
        split = split_file(versions)
        latest = {max(opened, key=int): 100}
        shares = read_shares(split) if split and split.is_file() else self.shares.get(name, latest)
        return Served(name, opened, shares, self.shadows.get(name))

    def _opened(self, name: str, version: str, file: Path) -> Model:
        """The model of a version; the one that is open already, where its files are as they were."""
        now = of_version(file)
        before, model = self._versions.get((name, version), (None, None))
        if model is None or before != now:
            model = open_model(file)
            self._versions[name, version] = (now, model)
        return model


def described(served: Served) -> str:
    """`digits (image): version 1 answers 90 %, version 2 answers 10 %; version 3 is compared`."""
    takes = next(iter(served.versions.values())).front.takes
    parts = [f"version {version} answers {share} %" for version, share in served.shares.items() if share]
    shadow = f"; version {served.shadow} is compared" if served.shadow else ""
    return f"{served.name} ({takes}): {', '.join(parts)}{shadow}"


def _stamp(versions: Mapping[str, Path]) -> Stamp:
    split = split_file(versions)
    return sum(map(of_version, versions.values()), stamp([split] if split else []))
