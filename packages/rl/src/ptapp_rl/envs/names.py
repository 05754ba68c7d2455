"""Environments by name: `CartPole` is the newest version of it, and an unknown name gets the nearest known one."""

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from ptapp_core.errors import UserError, close_to, install, nearest
from ptapp_core.settings import own as own_code
from ptapp_rl.envs.flat import flat, is_flat
from ptapp_rl.envs.forms import MASK
from ptapp_rl.envs.interface import OLD_GYM
from ptapp_rl.envs.masks import shape_in_info, with_mask
from ptapp_rl.envs.spaces import refuse_other_shape

_EXTRAS = {"Box2D": "box2d", "box2d": "box2d", "mujoco": "mujoco", "ale": "atari", "pygame": "classic"}
_SKIPPED = ("phys2d/", "tabular/", "GymV21", "GymV26")  # twins of others that need JAX, and adapters for old code
gym.register("ptapp/Recall-v0", "ptapp_rl.envs.recall:Recall", max_episode_steps=10)
_CALLED = {"env": "environment", "wrap": "wrapper"}
LONGEST = 10_000  # steps of an evaluated episode; the longest time limit of Gymnasium's own is 2,000


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


def resolve(name: str, of_run: str | None = None, *, wrap: str | None = None) -> str:
    """The registered name that is meant: itself, or the newest version of a bare one.

    `module:Name` and `file.py:Name` import first; there the name may be that of a class or function too.

    `of_run` is the name that a run began with, as its `meta.json` has it: a newer version is another environment.
    `wrap`, `module:function` or `file.py:function`, makes it another one, which is registered here.

    Raises UserError with the nearest known name.
    """
    if wrap is not None:
        return _wrapped(name, of_run, wrap)
    if own_code.is_own(name):
        name = _brought(name)
    name = name if of_run is None else str(of_run)
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


def refuse_code_of(run: Path, **brought: str) -> None:
    """Refuses code of a run, its `env` or `wrap`, that is not to be run (see `settings.own`).

    Raises UserError, naming the file.
    """
    for key, name in brought.items():
        own_code.refuse_code_of(run, name, _CALLED[key], remedy=f"as {key} in {run / 'config.toml'}")


def say_code_of(say: Callable[[str], None], **brought: str) -> None:
    """Says which code the `env` and `wrap` of a run import, if they do: a line each before it runs."""
    for key, name in brought.items():
        if code := own_code.code_of(name):
            say(f"{_CALLED[key]} {name}: imports {', '.join(str(file.resolve()) for file in code)}")


def _wrapped(env: str, of_run: str | None, wrap: str) -> str:
    """Registers what a function of the user's own makes of an environment; returns its name.

    That is the name of the environment, in a namespace that is called after the function.
    """
    inner = resolve(env)
    if of_run is not None:
        kept = of_run.rpartition("/")[2]
        inner = next((known for known in gym.registry if known.replace("/", ".") == kept), inner)
    if inner.startswith("ALE/"):
        raise UserError(
            f"--wrap {wrap}: {inner} has the preprocessing of Atari games, and takes no other: leave it out"
        )
    _, function = own_code.bring(wrap, "--wrap", "the function")
    place, _, last = wrap.rpartition(":")
    if not callable(function):
        raise UserError(f"--wrap {wrap}: {place} has no function {last}")
    space = re.sub(r"[^a-zA-Z0-9_]", "-", f"{Path(place).stem}-{last}")
    name = f"{space}/{inner.replace('/', '.')}"
    if of_run not in (None, name):
        raise UserError(f"--wrap {wrap}: makes {name} here, and the run was of {of_run}: install what it was made with")
    gym.registry.pop(name, None)  # it may be of another file of this name
    entry = partial(_wrap, inner, function, wrap)
    gym.register(name, entry_point=entry, max_episode_steps=gym.spec(inner).max_episode_steps)
    return name


def _wrap(inner: str, function: Callable[[Any], Any], wrap: str, **options: Any) -> gym.Env[Any, Any]:
    """An environment in the wrapper; the time limit, which is in steps of an agent, is around it."""
    env = function(gym.make(inner, max_episode_steps=-1, disable_env_checker=True, **options))
    if not isinstance(env, gym.Env):
        raise UserError(
            f"--wrap {wrap}: returned {type(env).__name__}: it takes an environment and returns the wrapped one"
        )
    return env


def _brought(env: str) -> str:
    """The name of `module:Name` or `file.py:Name`, once it is imported.

    A class or function of that name, which makes an environment, is registered where the module did not do so.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*precision lowered by casting")  # what Gymnasium says of most boxes
        module, found = own_code.bring(env, "--env", "the class, or the registered name,")
    place, _, name = env.rpartition(":")
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
    gym.registry.pop(registered, None)  # it may be of another file of this name
    gym.register(registered, entry_point=found)
    return registered


def make(
    name: str, *, stack: int = 1, render: str | None = None, limit: int | None = None, masked: bool = True
) -> gym.Env[Any, Any]:
    """One environment by its registered name, with what every algorithm here expects of it.

    Atari games get the preprocessing of Machado et al. (2018): 84x84 grey, every fourth frame, reward signs in
    training only. Nested spaces become flat ones (`envs/flat.py`). `stack` frames make an observation. `limit` cuts an
    episode after so many steps of an agent, in place of the environment's own time limit. `masked` looks for a mask of
    its actions, and puts it into the observation.
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
    except UserError:
        raise
    except Exception as error:
        hint = f"; as {OLD_GYM}" if "incompatible with Gymnasium" in str(error) else ""
        raise UserError(f"--env {name}: cannot be made: {type(error).__name__}: {error}{hint}") from error
    env = flat(env)
    env = with_mask(env, name) if masked and not atari else env
    return _Stack(env, stack) if stack > 1 else env


class _Stack(gym.wrappers.FrameStackObservation[Any, Any, Any]):
    """Names a frame of another shape than its space says; NumPy, which puts frames together, would say what it does."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """As of any stack."""
        with self._explained():
            return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """As of any stack."""
        with self._explained():
            return super().step(action)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, LookupError):
            for frame in self.obs_queue:
                refuse_other_shape(self.env, frame)
            raise


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
    return f"{name} has no time limit (--max-episode-steps sets one): evaluated episodes end after {LONGEST:,} steps"


def has_own_vector(name: str, stack: int = 1, *, masked: bool = True) -> bool:
    """Whether the environment brings a vectorised implementation that resets on the step after an episode's end.

    One that gives masks of actions, where they are `masked`, is played one by one.
    """
    if stack > 1 or name.startswith("ALE/") or gym.spec(name).vector_entry_point is None:
        return False
    probe = make_own_vector(name, 1)
    fits = probe.metadata.get("autoreset_mode") == gym.vector.AutoresetMode.NEXT_STEP
    fits = fits and isinstance(probe.single_observation_space, (spaces.Box, spaces.Dict))
    fits = fits and is_flat(probe.single_observation_space, probe.single_action_space)
    if fits and masked:
        seen = probe.single_observation_space
        fits = not (isinstance(seen, spaces.Dict) and MASK in seen.spaces) and shape_in_info(probe) is None
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
