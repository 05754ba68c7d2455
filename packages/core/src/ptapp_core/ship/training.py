"""`ptapp package` for a scheduler: the settings of a run become a job that trains, and goes on when it was stopped."""

import shutil
from textwrap import indent

from ptapp_core.errors import UserError
from ptapp_core.settings.toml import read_toml
from ptapp_core.ship.config import PackageSettings, version_of
from ptapp_core.ship.exported import meta_of
from ptapp_core.ship.render import complete, render


def package_job(settings: PackageSettings) -> None:
    """Writes the folder of a job that trains by the run's settings, which a scheduler starts again until it is done.

    Raises:
        UserError: this is no run directory, the run is one of several (`--folds`, `--seeds`), or the folder is there.
    """
    meta, config = meta_of(settings.run), settings.run / "config.toml"
    text, table = read_toml(config)
    for several in ("folds", "seeds"):
        if table.get(several, "none") != "none":
            raise UserError(f"{config}: {several}: a job that is started again continues one run, not several")
    ranks = table.get("nproc", 1)
    on_gpu = str(meta.get("device", "")).startswith("cuda")
    values = {
        "name": settings.model_name,
        "image": settings.image or "",
        "domain": str(meta.get("domain")),
        "run": version_of(settings.run),
        "ranks": str(ranks),
        "cores": str(ranks * (1 + table.get("workers", 2)) if on_gpu else ranks),
        "slurm_device": f"#SBATCH --gpus-per-node={ranks}\n" if on_gpu else "",
        "kubernetes_device": "nvidia.com/gpu" if on_gpu else "cpu",
        "settings": indent(text, "    ").rstrip("\n"),
    }
    with complete(settings.out) as folder:
        render(settings.target, folder, values)
        if settings.target == "slurm":
            shutil.copyfile(config, folder / "train.toml")
    print(f"{settings.out}: {settings.model_name} for {settings.target}, by the settings of {settings.run}")
    print(f"{settings.out / 'README.md'} has the commands")
