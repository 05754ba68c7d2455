"""`ptapp package --target slurm` and `kubeflow` write a job that trains by the settings of a run.

Neither scheduler runs here: what the job does is tried without them, and the manifest is held to what the sources of
Kubeflow Trainer and JobSet say of their fields.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from contract.rows import ROWS, command, only_run
from core.exports import make_exported_run
from core.test_restarts import free_port
from ptapp_core.cli.main import main

IMAGE = "registry.example.org/team/train:2"


def package(run: Path, out: Path, target: str, *words: str) -> Path:
    image = ["--image", IMAGE] if target == "kubeflow" else []
    assert main(["package", str(run), "--target", target, "--out", str(out), *image, *words]) == 0
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that was trained."""
    folder = tmp_path_factory.mktemp("trained")
    row = next(row for row in ROWS if row.name == "tabular")
    assert command([*row.train(folder), "--epochs", "1", "--name", "first"]) == 0
    config = only_run(folder) / "config.toml"
    config.write_text(re.sub("^nproc = 1 ", "nproc = 2 ", config.read_text(), flags=re.MULTILINE))
    return only_run(folder)


def programs(folder: Path, **lines: str) -> dict[str, str]:
    """The environment of a job that finds ptapp, and programs of these lines of bash."""
    folder.mkdir()
    for name, line in lines.items():
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.mark.slow
def test_the_job_for_slurm_trains_by_the_settings_and_is_queued_again_after_75(run: Path, tmp_path: Path) -> None:
    job = package(run, tmp_path / "job", "slurm", "--name", "night")
    assert (job / "train.toml").read_bytes() == (run / "config.toml").read_bytes()
    script = (job / "job.sbatch").read_text()
    assert "#SBATCH --job-name=night\n" in script
    assert "#SBATCH --cpus-per-task=2\n" in script
    asked = tmp_path / "asked"
    scontrol = f'[ "$1" = show ] && echo localhost || echo "$@" >> {asked}'
    own = programs(tmp_path / "bin", srun='shift; exec "$@"', scontrol=scontrol)
    own |= {"SLURM_JOB_NAME": "night", "SLURM_JOB_NODELIST": "localhost", "SLURM_JOB_ID": "7", "SLURM_NNODES": "1"}
    own |= {"SLURM_CPUS_PER_TASK": "2"}
    shell = ["bash", "-c", script.replace("$((29400 + SLURM_JOB_ID % 1000))", str(free_port()))]
    done = subprocess.run(shell, cwd=job, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 ranks" in done.stdout
    assert [path.name[16:] for path in run.parents[1].glob("*/*-night-s0")] == [
        "night-s0"
    ]  # its run_dir is a full path
    assert not asked.exists()
    stopped = programs(tmp_path / "bin75", srun="exit 75", scontrol=scontrol)
    names = {name: own[name] for name in own if name.startswith("SLURM")}
    assert subprocess.run(shell, cwd=job, env={**stopped, **names}).returncode == 75
    assert asked.read_text() == "requeue 7\n"


def documents(job: Path) -> list[Any]:
    return list(yaml.safe_load_all((job / "trainjob.yaml").read_text()))


# Fields of trainer.kubeflow.org/v1alpha1 (TrainJobSpec, RuntimeRef, Trainer) and of jobset.x-k8s.io/v1alpha2.
OF_TRAINJOB = {"runtimeRef", "initializer", "trainer", "suspend", "activeDeadlineSeconds", "managedBy"}
OF_TRAINER = {"image", "command", "args", "env", "numNodes", "resourcesPerNode", "numProcPerNode"}
ACTIONS = {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"}


def test_kubeflow_takes_the_job_and_its_runtime(run: Path, tmp_path: Path) -> None:
    settings, runtime, job = documents(package(run, tmp_path / "job", "kubeflow", "--name", "night"))
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(settings, version, strict=True)
    assert settings["data"]["train.toml"].strip() == (run / "config.toml").read_text().strip()
    for kind, found in (("TrainingRuntime", runtime), ("TrainJob", job)):
        assert (found["apiVersion"], found["kind"]) == ("trainer.kubeflow.org/v1alpha1", kind)
        assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", found["metadata"]["name"])  # by its validation
    spec, trainer = job["spec"], job["spec"]["trainer"]
    assert spec.keys() <= OF_TRAINJOB
    assert trainer.keys() <= OF_TRAINER
    reference = {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": runtime["metadata"]["name"]}
    assert spec["runtimeRef"] == reference
    assert (trainer["numProcPerNode"], trainer["resourcesPerNode"]) == (2, {"limits": {"cpu": 2}})
    assert runtime["spec"].keys() == {"mlPolicy", "template"}
    assert runtime["spec"]["mlPolicy"] == {"numNodes": 1, "torch": {"numProcPerNode": 2}}
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert node["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    pods = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": node["template"]["spec"]}
    kubernetes_validate.validate(pods, version, strict=True)
    (container,) = pods["spec"]["template"]["spec"]["containers"]  # type: ignore[index]
    assert container["name"] == node["name"] == "node"  # the one that Trainer gives its command
    mounted = {each["name"]: each for each in pods["spec"]["template"]["spec"]["volumes"]}  # type: ignore[index]
    assert {each["name"] for each in container["volumeMounts"]} == mounted.keys()
    assert mounted["settings"]["configMap"]["name"] == settings["metadata"]["name"]


def test_kubeflow_starts_a_job_again_that_saved_itself_and_counts_other_failures(run: Path, tmp_path: Path) -> None:
    _, runtime, _ = documents(package(run, tmp_path / "job", "kubeflow"))
    jobs = runtime["spec"]["template"]["spec"]
    (rule,) = jobs["failurePolicy"]["rules"]
    assert rule["action"] in ACTIONS
    assert rule == {"action": "RestartJobSetAndIgnoreMaxRestarts", "onJobFailureReasons": ["PodFailurePolicy"]}
    assert jobs["failurePolicy"]["maxRestarts"] == 3  # what becomes of a failure without a rule
    (node,) = jobs["replicatedJobs"]
    spec = node["template"]["spec"]
    assert spec["podFailurePolicy"]["rules"] == [
        {"action": "FailJob", "onExitCodes": {"containerName": "node", "operator": "In", "values": [75]}}
    ]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # which a policy for failures of pods asks for
    assert spec["backoffLimit"] == 0  # all ranks begin again, not one pod


@pytest.mark.slow
def test_the_command_of_kubeflow_trains_by_the_settings(run: Path, tmp_path: Path) -> None:
    settings, _, job = documents(package(run, tmp_path / "job", "kubeflow", "--name", "night"))
    (tmp_path / "train.toml").write_text(settings["data"]["train.toml"])
    *shell, script = job["spec"]["trainer"]["command"]
    script = script.replace("/settings/", f"{tmp_path}/").replace("/work/", f"{tmp_path}/work/")
    own = programs(tmp_path / "bin", getent='echo "127.0.0.1 $2"')
    own |= {"PET_NNODES": "1", "PET_NPROC_PER_NODE": "2", "PET_NODE_RANK": "0"}
    own |= {"PET_MASTER_ADDR": "localhost", "PET_MASTER_PORT": str(free_port())}  # as its plugin for torch sets them
    done = subprocess.run([*shell, script], env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 ranks" in done.stdout
    (trained,) = (tmp_path / "work" / "runs").glob("*/*-night-s0")
    assert (trained / "checkpoints" / "best").exists()


@pytest.mark.parametrize("target", ["slurm", "kubeflow"])
def test_every_file_is_filled_in_and_named_and_needs_no_export(target: str, tmp_path: Path) -> None:
    run = make_exported_run(tmp_path / "runs" / "vision-fercnn" / "20260131-154500-demo-s0")
    shutil.rmtree(run / "export")
    (run / "meta.json").write_text('{"domain": "vision", "device": "cuda:0 bf16"}')
    job = package(run, tmp_path / "job", target)
    readme = (job / "README.md").read_text()
    for file in job.iterdir():
        assert "%{" not in file.read_text(), file
        assert file.name == "README.md" or f"| `{file.name}` |" in readme
    text = "".join(file.read_text() for file in job.iterdir())
    assert "ptapp vision train" in text
    assert "gpus-per-node=1" in text if target == "slurm" else "nvidia.com/gpu: 1" in text


def test_what_cannot_be_a_job_is_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_exported_run(tmp_path / "runs" / "vision-fercnn" / "20260131-154500-demo-s0")
    out = tmp_path / "job"

    def said(*words: str, folder: Path = run) -> str:
        assert main(["package", str(folder), "--out", str(out), *words]) == 2
        assert not out.exists()
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "--target kubeflow: give an image with ptapp and torch" in said("--target", "kubeflow")
    assert "--image does nothing here" in said("--target", "slurm", "--image", IMAGE)
    assert "not a run directory" in said("--target", "slurm", folder=tmp_path)
    (run / "config.toml").write_text("folds = 5\n")
    assert "config.toml: folds: a job that is started again continues one run" in said("--target", "slurm")


def test_shellcheck_has_nothing_to_say(run: Path, tmp_path: Path) -> None:
    if (tool := shutil.which("shellcheck")) is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run([tool, package(run, tmp_path / "job", "slurm") / "job.sbatch"], check=True)
