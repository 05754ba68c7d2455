"""Watching a policy: `record` writes an episode as a GIF, `play` opens a window."""

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained
from ptapp_rl.algos import build
from ptapp_rl.config import PlayRL, RecordRL, TrainRL
from ptapp_rl.envs import make, resolve
from ptapp_rl.evaluate import APART
from ptapp_rl.spaces import each

_FASTEST = 50  # frames a second that viewers of GIFs keep to


def record(settings: RecordRL) -> None:
    """Plays one episode of a run's policy and writes its frames, with the return so far on each."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a screen
    model, env = _open(settings.run, settings.checkpoint, "rgb_array")
    frames: list[Image.Image] = []
    total = _episode(model, env, APART + settings.seed, settings.length, settings.width, frames)
    rate = float(env.metadata.get("render_fps", 30))
    env.close()
    out = settings.out or settings.run / "report" / "episode.gif"
    out.parent.mkdir(parents=True, exist_ok=True)
    every = max(1, round(rate / _FASTEST))
    kept = frames[::every]
    part = out.with_name(f".{out.name}.part")
    kept[0].save(
        part, "GIF", save_all=True, append_images=kept[1:], duration=round(1000 * every / rate), loop=0, optimize=True
    )
    part.replace(out)
    print(f"{out}: {len(frames)} frames, return {total:.1f}")


def play(settings: PlayRL) -> None:
    """Plays episodes in a window, each with its return on the console."""
    model, env = _open(settings.run, settings.checkpoint, "human")
    for episode in range(settings.episodes):
        print(f"episode {episode + 1}: return {_episode(model, env, APART + settings.seed + episode):.1f}")
    env.close()


def _open(run: Path, checkpoint: Any, render: str) -> tuple[nn.Module, gym.Env[Any, Any]]:
    trained = Trained.find(run, "rl", checkpoint)
    model = trained.load(build(trained.about["model"]))
    job = TrainRL.resolve(run / "config.toml", {})
    name = resolve(job.env)
    if render not in (make(name).metadata.get("render_modes") or ()):
        raise UserError(f"{name} cannot be shown: it has no render mode {render!r}")
    return model, make(name, stack=job.stack, render=render)


@torch.inference_mode()
def _episode(
    model: nn.Module,
    env: gym.Env[Any, Any],
    seed: int,
    length: int = 100_000,
    width: int = 0,
    frames: list[Image.Image] | None = None,
) -> float:
    """The return of one episode of at most `length` frames, whose pictures are added to `frames`."""
    observation, _ = env.reset(seed=seed)
    total, over = 0.0, False
    for _ in range(length):
        if frames is not None:
            frames.append(_picture(env, width, total))
        if over:
            break
        seen = each(observation, lambda part: torch.from_numpy(np.asarray(part)[None]))
        action = model(seen)[0].numpy()
        observation, reward, terminated, truncated, _ = env.step(action if action.ndim else action[()])
        total += float(reward)
        over = terminated or truncated
        if over and frames is None:
            break
    return total


def _picture(env: gym.Env[Any, Any], width: int, total: float) -> Image.Image:
    try:
        pixels: Any = env.render()
    except gym.error.DependencyNotInstalled as error:
        raise UserError(f"drawing needs a library: {error}") from None
    picture = Image.fromarray(np.asarray(pixels))
    picture = picture.resize((width, round(picture.height * width / picture.width)))
    ImageDraw.Draw(picture).text((6, 4), f"return {total:.1f}", fill=(128, 128, 128))
    return picture.quantize(64)
