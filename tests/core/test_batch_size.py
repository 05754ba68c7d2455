"""The batch size of a job: no micro-batch of a single sample meets batch normalisation that sees one value of each."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from contract.of_vision import write_images
from contract.rows import command
from ptapp_audio.models import build as build_for_sounds
from ptapp_core.errors import UserError
from ptapp_core.jobs import fit_batch_size, least_samples, optimizer_of
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.settings.train import TrainSettings
from ptapp_vision.models import build

USUAL = 64  # the default of TrainSettings


def shares(size: int, batch_size: int, accumulate: int, ranks: int) -> list[int]:
    """How many samples each rank has in each micro-batch of an epoch, as the loader deals them out."""
    micro = [part for batch in torch.arange(size).split(batch_size) for part in batch.tensor_split(accumulate)]
    return [len(share) for part in micro for share in part.tensor_split(ranks)]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    size=st.integers(1, 100),
    batch_size=st.one_of(st.just(USUAL), st.integers(1, 100)),
    accumulate=st.integers(1, 12),
    ranks=st.integers(1, 3),
)
def test_no_sample_is_alone_or_one_line_names_a_size_that_works(
    size: int, batch_size: int, accumulate: int, ranks: int
) -> None:
    if accumulate > batch_size:
        return  # which the settings refuse
    job = TrainSettings(batch_size=batch_size, accumulate=accumulate)
    try:
        fitted, note = fit_batch_size(job, USUAL, size, least=2, ranks=ranks)
    except UserError as error:
        named = str(error).rpartition("; give --batch-size ")[2]
        possible = any(1 not in shares(size, other, accumulate, ranks) for other in range(1, size + 1))
        assert 1 in shares(size, batch_size, accumulate, ranks)
        assert possible == named.isdigit()
        assert not possible or 1 not in shares(size, int(named), accumulate, ranks)
        assert not possible or batch_size != USUAL
        return
    assert bool(note) == (fitted.batch_size != batch_size)
    assert batch_size == USUAL or fitted.batch_size == batch_size
    assert fitted.batch_size > size or 1 not in shares(size, fitted.batch_size, accumulate, ranks)


def test_where_one_sample_is_enough_nothing_changes() -> None:
    job = TrainSettings(batch_size=32, accumulate=32)
    assert fit_batch_size(job, USUAL, 33) == (job, "")


@pytest.mark.parametrize(
    ("name", "size", "least"),
    [
        ("fercnn", 16, 1),
        ("resnet18", 16, 1),
        ("torchvision/shufflenet_v2_x0_5", 32, 2),
        ("torchvision/shufflenet_v2_x0_5", 64, 1),
    ],
)
def test_what_a_model_needs_is_what_torch_refuses_less_of(name: str, size: int, least: int) -> None:
    model = build(name, classes=3, channels=1, size=size)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert least_samples(model, torch.zeros(1, 1, size, size)) == least
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    refused(model, torch.randn(1, 1, size, size), least == 2)


@pytest.mark.parametrize(("name", "shape"), [("cnn", (8, 8)), ("cnn", (40, 40)), ("crnn", (16, 8))])
def test_the_networks_for_sounds_are_looked_at_alike(name: str, shape: tuple[int, int]) -> None:
    model = build_for_sounds(name, classes=3, shape=shape)
    refused(model, torch.randn(1, *shape), least_samples(model, torch.zeros(1, *shape)) == 2)


def refused(model: nn.Module, one: Tensor, expected: bool) -> None:
    """Checks whether torch refuses to train on one sample."""
    if expected:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            model(one)
    else:
        model(one)


def test_a_frozen_part_needs_no_second_sample() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    assert least_samples(model, torch.zeros(1, 4)) == 2
    build_optimizer(model, "sgd", lr=0.1, freeze=["0"])
    assert least_samples(model, torch.zeros(1, 4)) == 1


def test_a_last_batch_of_one_is_avoided_or_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "bars", 14, 32)  # 12 + 12 + 12 for training, less one
    (data / "both" / "0.png").unlink()
    words = ["vision", "train", "--data", str(data), "--run-dir", str(tmp_path / "runs"), "--steps", "1"]
    words += ["--model", "torchvision/shufflenet_v2_x0_5", "--threads", "1", "--log-to", "none", "--split", "exact"]
    assert command([*words, "--batch-size", "34"]) == 2
    said = "error: --batch-size 34 leaves one of 35 training samples alone in a micro-batch, too few for batch "
    assert f"{said}normalisation; give --batch-size 33\n" in capsys.readouterr().err
    assert command([*words, "--batch-size", "12", "--accumulate", "12"]) == 2
    assert "give --batch-size 35\n" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("rule", "factor"), [("none", 1.0), ("linear", 4.0), ("sqrt", 2.0)])
def test_the_rates_follow_the_batch_size_by_the_rule(rule: str, factor: float) -> None:
    job = TrainSettings(lr_scale=rule, batch_size=1024, lr=0.1, backbone_lr=0.01)  # type: ignore[arg-type]
    model = nn.ModuleDict({"body": nn.Linear(3, 3), "head": nn.Linear(3, 2)})
    rates = {group["name"].split()[0]: group["lr"] for group in optimizer_of(job, model, "head").param_groups}
    assert rates == {"backbone": pytest.approx(0.01 * factor), "head": pytest.approx(0.1 * factor)}


def test_the_rates_follow_the_batch_size_that_the_data_allows() -> None:
    job, _ = fit_batch_size(TrainSettings(lr_scale="linear", lr_base_batch=32), USUAL, 32)
    assert (job.batch_size, job.lr_factor) == (8, 0.25)


def test_the_line_of_the_plan_says_the_rate_and_where_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_images(tmp_path / "bars")
    words = ["vision", "train", "--data", str(images), "--run-dir", str(tmp_path), "--device", "cpu", "--threads", "1"]
    words += ["--steps", "1", "--batch-size", "16", "--lr", "0.1", "--lr-scale", "sqrt", "--lr-base-batch", "4"]
    assert command([*words, "--log-to", "none"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert ", lr 0.2 (0.1 times the root of 16 / 4) run: " in said


def test_a_base_batch_without_a_rule_is_refused() -> None:
    with pytest.raises(UserError, match="--lr-base-batch does nothing here: it is for --lr-scale linear and sqrt"):
        TrainSettings.resolve(None, {"lr_base_batch": 32})
