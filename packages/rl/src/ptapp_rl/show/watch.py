"""Watching a policy: `record` writes an episode as a GIF or MP4, `play` opens a window."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from PIL import Image, ImageDraw

from ptapp_core.errors import UserError
from ptapp_rl.algos.build import build
from ptapp_rl.config import PlayRL, RecordRL
from ptapp_rl.envs.interface import fault_in
from ptapp_rl.envs.names import limit_of, make
from ptapp_rl.envs.spaces import each, reward_of
from ptapp_rl.evaluate import APART, Policy, find, policy_of, refuse_other_spaces
from ptapp_rl.models.recurrent import Remembering
from ptapp_rl.show.movie import check_writer, write


def record(settings: RecordRL) -> None:
    """Plays one episode of a run's policy and writes its frames, with the return so far on each."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a screen, and MuJoCo where it is asked to
    if not _has_screen():
        os.environ.setdefault("MUJOCO_GL", "egl")
    out = settings.out or settings.run / "report" / "episode.gif"
    check_writer(out)
    policy, env = _open(settings, "rgb_array")
    returns: list[float] = []

    def pictures() -> Iterator[Image.Image]:
        for total in _episode(policy, env, settings.seed, settings.length):
            returns.append(total)
            yield _picture(env, settings.width, total)

    out.parent.mkdir(parents=True, exist_ok=True)
    with closing(env):
        write(pictures(), out, float(env.metadata.get("render_fps", 30)))
    print(f"{out}: {len(returns)} frames, return {returns[-1]:.1f}")


def play(settings: PlayRL) -> None:
    """Plays episodes in a window, each with its return on the console."""
    policy, env = _open(settings, "human")
    with closing(env):
        for episode in range(settings.episodes):
            *_, total = _episode(policy, env, settings.seed + episode)
            print(f"episode {episode + 1}: return {total:.1f}")


def _open(settings: RecordRL | PlayRL, render: str) -> tuple[Policy, gym.Env[Any, Any]]:
    trained, job, name = find(settings)
    model, masked = trained.load(build), trained.about.model.masked
    with closing(make(name, stack=job.stack, masked=masked)) as probe:
        refuse_other_spaces(trained, name, probe)
        modes = probe.metadata.get("render_modes") or ()
    if render not in modes:
        remedy = "" if render == "human" else ", an array (height, width, 3) of bytes that `render` returns"
        raise UserError(f"{name} cannot be shown: its metadata['render_modes'] lacks {render!r}{remedy}")
    if render == "human" and not _has_screen():
        raise UserError(f"{name}: there is no screen to show it on; `ptapp rl record` writes an episode to a file")
    policy = policy_of(model, settings.draws(job), settings.seed)
    limit = limit_of(name, job.max_episode_steps)
    return policy, make(name, stack=job.stack, render=render, limit=limit, masked=masked)


def _has_screen() -> bool:
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@torch.inference_mode()
def _episode(policy: Policy, env: gym.Env[Any, Any], seed: int, length: int | None = None) -> Iterator[float]:
    """The return so far at each observation of one episode, or of its first `length`; the first is 0."""
    observation, _ = env.reset(seed=APART + seed)
    if isinstance(policy, Remembering):
        policy.forget()
    total, over = 0.0, False
    yield total
    while not over and (length is None or (length := length - 1)):
        seen = each(observation, lambda part: torch.from_numpy(np.array(part)[None]))
        action = policy(seen)[0].numpy()
        observation, reward, terminated, truncated, _ = env.step(action if action.ndim else action[()])
        total += reward_of(reward)
        over = terminated or truncated
        yield total


def _picture(env: gym.Env[Any, Any], width: int, total: float) -> Image.Image:
    try:
        pixels: Any = env.render()
    except Exception as error:  # libraries of pictures fail in many ways
        name = env.spec.id if env.spec else str(env)
        raise UserError(f"{name}: cannot be drawn: {fault_in(error)}") from error
    picture = Image.fromarray(np.asarray(pixels))
    picture = picture.resize((width, round(picture.height * width / picture.width)))
    ImageDraw.Draw(picture).text((6, 4), f"return {total:.1f}", fill="white", stroke_width=1, stroke_fill="black")
    return picture
