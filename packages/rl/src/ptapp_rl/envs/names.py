"""Environments by name: `CartPole` is the newest version of it, and an unknown name gets the nearest known one."""

import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.machinery import PathFinder, all_suffixes
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from ptapp_core.errors import UserError, close_to, install, nearest

_EXTRAS = {"Box2D": "box2d", "box2d": "box2d", "mujoco": "mujoco", "ale": "atari", "pygame": "classic"}
_SKIPPED = ("phys2d/", "tabular/", "GymV21", "GymV26")  # twins of others that need JAX, and adapters for old code
OLD_GYM = (
    "Gymnasium wants it: reset(seed=, options=) returns an observation and a dictionary, step returns five values; "
    "the package shimmy converts environments of the old gym"
)
LONGEST = 10_000  # steps of an evaluated episode; the longest time limit of Gymnasium's own games is 2,000


def names() -> list[str]:
    """The newest version of every environment that is registered."""
    _register_atari()
    newest: dict[str, str] = {}
    for name in gym.registry:
        if not name.startswith(_SKIPPED):
            bare = _bare(name)
            if bare not in newest or _version(name) > _version(newest[bare]):
                newest[bare] = name
    return sorted(newest.values())


def resolve(name: str, run: Mapping[str, Any] | None = None) -> str:
    """The registered name that is meant: itself, or the newest version of a bare one.

    `module:Name` and `file.py:Name` import first; there the name may be that of a class or function too.

    Of a `run`, given by its `meta.json`, it is the name that the run began with: a newer version is another game.

    Raises UserError with the nearest known name.
    """
    if ":" in name or name.endswith(".py"):
        name = _brought(name)
    name = str((run or {}).get("env", name))
    if name in gym.registry:
        return name
    known = names()
    if name in gym.registry:  # only now that Atari is there
        return name
    for candidate in known:
        if _is(candidate, name):
            return candidate
    bare = {_bare(candidate): candidate for candidate in known}
    words = [*bare, *bare.values()]
    unlike = not close_to(name, words) and "ale_py" not in sys.modules
    atari = f"; Atari games need {install('ptapp-rl', 'atari')}" if unlike else ""
    raise UserError(f"--env {name}: not among `ptapp rl envs`{nearest(name, words)}{atari}")


def _is(registered: str, name: str) -> bool:
    """Whether a name, which may lack version and namespace, is that of a registered environment."""
    bare = _bare(registered).lower()
    return registered == name or name.lower() in (bare, bare.rpartition("/")[2])


def refuse_code_of(run: Path, env: str) -> None:
    """Refuses an environment of a run that is not to be run: a stranger's run must not choose what code runs here.

    That is code which lies in the run directory itself, and what Python itself brings, such as `http.server:test`.
    Raises UserError, naming the file.
    """
    if env.rpartition(":")[0].partition(".")[0] in sys.stdlib_module_names:
        raise UserError(
            f"{run / 'config.toml'}: its environment {env} is code of Python itself, which has no environments and is "
            "not run; the file was changed"
        )
    inside = [file for file in (*code_of(env), *_on_the_way(env)) if file.resolve().is_relative_to(run.resolve())]
    if inside:
        raise UserError(
            f"{run}: its environment {env} is code in the run directory itself, which is not run; if you trust it, "
            f"move {inside[0]} elsewhere and name that place as env in {run / 'config.toml'}"
        )


def code_of(env: str) -> list[Path]:
    """Where the code lies that `module:Name` or `file.py:Name` imports; nothing is imported to find out."""
    place = env.rpartition(":")[0]
    if place.endswith(".py"):
        files = [Path(place).expanduser()]
    else:
        spec = PathFinder.find_spec(place.partition(".")[0], [*sys.path, str(Path.cwd())]) if place else None
        origins = [spec.origin] if spec and spec.origin else (spec.submodule_search_locations or []) if spec else []
        files = [Path(origin) for origin in origins]
    return [file for file in files if file.exists()]


def _on_the_way(env: str) -> list[Path]:
    """What each part of a dotted name may be: a folder without an `__init__.py` is a package as well."""
    parts = env.rpartition(":")[0].split(".")
    stems = [
        Path(folder, *parts[:count]) for folder in (str(Path.cwd()), *sys.path) for count in range(1, len(parts) + 1)
    ]
    forms = [stem.with_name(stem.name + suffix) for stem in stems if stem.name for suffix in ("", *all_suffixes())]
    return [form for form in forms if form.exists()]


def say_code_of(env: str, say: Callable[[str], None]) -> None:
    """Says which code the environment of a run imports, if it does: a line before it runs."""
    if code := code_of(env):
        say(f"environment {env}: imports {', '.join(str(file.resolve()) for file in code)}")


def _brought(env: str) -> str:
    """The name of `module:Name` or `file.py:Name`, once it is imported.

    A class or function of that name, which makes an environment, is registered where the module did not do so.
    """
    place, _, name = env.rpartition(":")
    if not place or name.endswith(".py"):
        raise UserError(f"--env {env}: give the class, or the registered name, after a colon, as {env}:Name")
    module, found = _import(place, f"--env {env}"), None
    for part in name.split("."):
        found = getattr(found or module, part, None)
    known = any(
        name in (known, _bare(known)) and spec.entry_point in (found, f"{place}:{name}")
        for known, spec in gym.registry.items()
    )
    if known:
        return name
    if not callable(found):
        if not any(_is(each, name) for each in gym.registry):
            made = [
                each for each, value in vars(module).items() if isinstance(value, type) and issubclass(value, gym.Env)
            ]
            raise UserError(f"--env {env}: {place} neither has nor registers {name}{nearest(name, made)}")
        return name
    registered = f"{re.sub(r'[^a-zA-Z0-9_]', '-', Path(place).stem)}/{name}-v0"
    gym.registry.pop(registered, None)  # of another file of this name
    gym.register(registered, entry_point=found)
    return registered


def _import(place: str, where: str) -> ModuleType:
    """Imports a module, or a file, that brings an environment; it may lie in the current folder, as for `python -m`.

    Its folder comes last on the path and stays there: it hides nothing that is installed, and what the module imports
    only when the environment is made is found as well.
    """
    file = Path(place).expanduser().resolve() if place.endswith(".py") else None
    if (folder := str(file.parent if file else Path.cwd())) not in sys.path:
        sys.path.append(folder)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*precision lowered by casting")  # what Gymnasium says of most boxes
            return _run_file(file) if file else importlib.import_module(place)
    except (Exception, SystemExit) as error:  # whatever the user's code does
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError) and error.name == place.partition(".")[0]:
            why = "it is neither installed, nor in the current folder, nor on PYTHONPATH"
        if isinstance(error, OSError) and file and not file.is_file():
            raise UserError(f"{where}: there is no file {place}") from error
        raise UserError(f"{where}: the {'file' if file else 'module'} cannot be imported: {why}") from error


def _run_file(file: Path) -> ModuleType:
    """A file as a module; its name there is its path, which no other module has."""
    if (module := sys.modules.get(str(file))) is None:
        spec = importlib.util.spec_from_file_location(str(file), file)
        assert spec
        assert spec.loader
        module = sys.modules[str(file)] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[str(file)]
            raise
    return module


def make(name: str, *, stack: int = 1, render: str | None = None, limit: int | None = None) -> gym.Env[Any, Any]:
    """One environment by its registered name, with what every algorithm here expects of it.

    Atari games get the preprocessing of Machado et al. (2018): 84x84 grey, every fourth frame, reward signs in
    training only. Tuples of observations become vectors. `stack` frames make an observation. `limit` cuts an episode
    after so many steps of an agent, in place of the environment's own time limit.
    """
    atari = name.startswith("ALE/")
    options: dict[str, Any] = {"frameskip": 1} if atari else {}
    options |= {"render_mode": render} if render else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of the environment, and libraries below
            env = gym.make(name, max_episode_steps=None if atari else limit, disable_env_checker=True, **options)
            if atari:
                env = gym.wrappers.AtariPreprocessing(env, noop_max=30, frame_skip=4, scale_obs=False)
                env = env if limit is None else gym.wrappers.TimeLimit(env, limit)
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise UserError(f"--env {name}: a library is missing ({error}){_remedy(str(error))}") from None
    except Exception as error:
        hint = f"; as {OLD_GYM}" if "incompatible with Gymnasium" in str(error) else ""
        raise UserError(f"--env {name}: cannot be made: {type(error).__name__}: {error}{hint}") from error
    if isinstance(env.observation_space, spaces.Tuple):
        env = gym.wrappers.FlattenObservation(env)
    return gym.wrappers.FrameStackObservation(env, stack) if stack > 1 else env


def is_endless(name: str) -> bool:
    """Whether an environment has no time limit, so that a policy that goes round in circles never ends its episode.

    Atari games have a limit of their own, in frames.
    """
    return not name.startswith("ALE/") and gym.spec(name).max_episode_steps is None


def limit_of(name: str, own: int | None) -> int | None:
    """The time limit to evaluate an environment with: the job's `own`, else one where the environment has none."""
    return own if own is not None or not is_endless(name) else LONGEST


def limit_note(name: str, own: int | None) -> str:
    """What is done about an environment without a time limit, for the console; empty where nothing is."""
    if own is not None or not is_endless(name):
        return ""
    return f"{name} has no time limit: evaluated episodes end after {LONGEST:,} steps"


def has_own_vector(name: str, stack: int = 1) -> bool:
    """Whether the environment brings a vectorised implementation that resets on the step after an episode's end."""
    if stack > 1 or name.startswith("ALE/") or gym.spec(name).vector_entry_point is None:
        return False
    probe = make_own_vector(name, 1)
    fits = probe.metadata.get("autoreset_mode") == gym.vector.AutoresetMode.NEXT_STEP
    fits = fits and isinstance(probe.single_observation_space, (spaces.Box, spaces.Dict))
    probe.close()
    return fits


def make_own_vector(name: str, count: int) -> Any:
    """The environment's own vectorised implementation."""
    return gym.make_vec(name, num_envs=count, vectorization_mode="vector_entry_point")


def _bare(name: str) -> str:
    return re.sub(r"-v\d+$", "", name)


def _version(name: str) -> int:
    found = re.search(r"-v(\d+)$", name)
    return int(found[1]) if found else -1


def _remedy(text: str) -> str:
    extra = next((extra for word, extra in _EXTRAS.items() if word in text), None)
    return f": {install('ptapp-rl', extra)}" if extra else ""


def _register_atari() -> None:
    try:
        import ale_py
    except ImportError:
        return
    gym.register_envs(ale_py)
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # or it greets, once a process
