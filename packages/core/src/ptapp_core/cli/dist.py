"""`ptapp dist check`: whether the ranks of a job find each other, and what each collective gives and takes."""

import os
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from ptapp_core.cli.app import command, domain
from ptapp_core.machine.terminal import tell
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import option

app = domain("Several ranks: whether they reach each other, and how fast.")


class CheckRanks(Settings):
    """What `ptapp dist check` can be asked for."""

    nproc: int | None = option(
        None, "ranks on this machine; none: one for each CUDA device, at least 2", group="Ranks", ge=2, le=1024
    )
    backend: Literal["auto", "gloo", "nccl"] = option("auto", "auto: nccl where CUDA is, else gloo", group="Ranks")
    timeout: float = option(15.0, "seconds that a rank waits for another one", group="Ranks", gt=0, le=3600)
    size: int | None = option(
        None, "largest message in MiB; none: 4 for gloo, 128 for nccl", group="Output", ge=1, le=16384
    )
    out: Path | None = option(None, "picture of the times (.png)", group="Output")

    @field_validator("out")
    @classmethod
    def _out_is_a_png(cls, out: Path | None) -> Path | None:
        if out is not None and out.suffix != ".png":
            raise ValueError("must end in .png")
        return out


@command(app, CheckRanks)
def check(settings: CheckRanks) -> None:
    """Check every collective between ranks of this machine, or of all that torchrun starts."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # torch would report each failed attempt with its C++ frames
    import torch

    from ptapp_core.cli.dist_check import check_ranks
    from ptapp_core.cli.ranks import relaunch

    if relaunch(
        settings.nproc or max(torch.cuda.device_count(), 2), remedy="give a smaller --nproc if memory is short"
    ):
        return
    times = check_ranks(settings)
    if settings.out is not None and os.environ["RANK"] == "0":
        from ptapp_core.measure.link_pictures import draw_times

        tell(f"picture: {draw_times(times, settings.out)}")
