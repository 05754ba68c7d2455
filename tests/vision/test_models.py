"""The image models: shapes, switches, references, weights, and that they learn."""

import os
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from ptapp_core.errors import UserError
from ptapp_vision.models import build, read_weights
from ptapp_vision.models.resnet import BlurPool, StochasticDepth

pytestmark = pytest.mark.slow

CLASSIC = {"se": False, "stochastic_depth": 0.0, "antialias": False, "preactivation": False, "stem": "large"}


@pytest.mark.parametrize("name", ["fercnn", "resnet18", "resnet34", "resnet50", "resnet101"])
@pytest.mark.parametrize(("channels", "size"), [(1, 16), (3, 28), (1, 48), (3, 65)])
def test_a_classifier_takes_any_image_to_logits(name: str, channels: int, size: int) -> None:
    with torch.device("meta"):
        model = build(name, classes=7, channels=channels, size=size)
        assert model(torch.empty(2, channels, size, size)).shape == (2, 7)


@pytest.mark.parametrize("size", [16, 28, 45])
def test_the_autoencoder_gives_an_image_of_the_same_shape(size: int) -> None:
    model = build("autoencoder", classes=2, channels=1, size=size)
    assert model(torch.randn(2, 1, size, size)).shape == (2, 1, size, size)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_with_every_improvement_off_it_is_torchvisions_resnet(name: str) -> None:
    torch.manual_seed(0)
    reference = torchvision.models.get_model(name, weights=None, num_classes=5).eval()
    model = build(name, classes=5, channels=3, size=224, **CLASSIC).eval()
    # The same layers of the same shapes; torchvision lists a shortcut after its branch, as we do.
    theirs, ours = reference.state_dict(), model.state_dict()
    assert [value.shape for value in theirs.values()] == [value.shape for value in ours.values()]
    model.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(images), reference(images))


def test_each_improvement_changes_what_it_says() -> None:
    def parameters(**options: object) -> int:
        return sum(p.numel() for p in build("resnet18", classes=10, channels=3, size=32, **options).parameters())

    assert parameters(se=False) < parameters()
    assert parameters(stem="small") == parameters()
    assert parameters(stem="large") > parameters()
    assert parameters(antialias=False) == parameters()
    assert parameters(stochastic_depth=0.0) == parameters()
    with_blur, without = (build("resnet18", classes=10, channels=3, size=32, antialias=on) for on in (True, False))
    assert any(isinstance(m, BlurPool) for m in with_blur.modules())
    assert not any(isinstance(m, BlurPool) for m in without.modules())


def test_stochastic_depth_drops_samples_and_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    layer = StochasticDepth(0.25)
    x = torch.ones(20_000, 2, 1, 1)
    dropped = layer(x)
    assert sorted(set(dropped[:, 0].flatten().tolist())) == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(layer.eval()(x), x)


def test_stochastic_depth_grows_linearly_over_the_blocks() -> None:
    model = build("resnet18", classes=10, channels=3, size=32, stochastic_depth=0.4)
    rates = [next((m.drop for m in block.modules() if isinstance(m, StochasticDepth)), 0.0) for block in model.blocks()]
    steps = torch.tensor(rates).diff()
    assert rates[-1] == pytest.approx(0.4)
    torch.testing.assert_close(steps, steps.mean().expand(len(steps)))


def test_blur_keeps_a_constant_and_makes_the_network_steadier_under_a_shift() -> None:
    assert torch.equal(BlurPool(3)(torch.ones(1, 3, 8, 8)), torch.ones(1, 3, 4, 4))
    torch.manual_seed(0)
    images = torch.randn(8, 1, 33, 33)
    changes = []
    for antialias in (True, False):
        torch.manual_seed(1)
        model = build("resnet18", classes=10, channels=1, size=32, antialias=antialias, stochastic_depth=0.0).eval()
        here, there = model(images[..., :32, :32]), model(images[..., 1:, 1:])
        changes.append(((here - there).norm() / here.norm()).item())
    assert changes[0] < changes[1]


@pytest.mark.parametrize("name", ["fercnn", "resnet18", "torchvision/mobilenet_v3_small"])
def test_every_parameter_learns_and_the_head_is_named(name: str) -> None:
    model = build(name, classes=3, channels=1, size=32, **({"stochastic_depth": 0.0} if name == "resnet18" else {}))
    model(torch.randn(4, 1, 32, 32)).logsumexp(1).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    head = {key: p for key, p in model.named_parameters() if key.startswith(model.head_prefix)}
    assert {p.shape[0] for p in head.values()} == {3}
    assert all(block in list(model.modules()) for block in model.blocks())


@pytest.mark.parametrize("name", ["fercnn", "resnet18"])
def test_it_runs_in_bf16_with_channels_last(name: str) -> None:
    model = build(name, classes=3, channels=1, size=32).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.randn(4, 1, 32, 32).contiguous(memory_format=torch.channels_last)).float().square().sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["fercnn", "resnet18"])
def test_it_memorises_a_few_images_unless_their_labels_change(name: str) -> None:
    def last_loss(changing: bool) -> float:
        torch.manual_seed(0)
        images, labels = torch.randn(8, 1, 16, 16), torch.arange(8) % 4
        model = build(name, classes=4, channels=1, size=16)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
        for _ in range(20):
            target = labels[torch.randperm(8)] if changing else labels
            loss = nn.functional.cross_entropy(model(images), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    assert last_loss(changing=False) < 0.3
    assert last_loss(changing=True) > 0.6


def test_a_grey_image_gives_what_it_gave_in_three_channels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    colour = build("torchvision/resnet18", classes=5, channels=3, size=64).eval()
    save_file(colour.state_dict(), tmp_path / "w.safetensors")
    grey = build(
        "torchvision/resnet18", classes=5, channels=1, size=64, weights=read_weights(tmp_path / "w.safetensors")
    ).eval()
    images = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_come_from_a_file_and_a_head_for_other_classes_starts_fresh(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"weights.{suffix}"
    before = build("fercnn", classes=7, channels=1, size=48)
    save_file(before.state_dict(), file) if suffix == "safetensors" else torch.save(before.state_dict(), file)
    after = build("fercnn", classes=3, channels=1, size=48, weights=read_weights(file))
    for key, value in after.state_dict().items():
        if not key.startswith(after.head_prefix):
            assert torch.equal(value, before.state_dict()[key])


class Hostile:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.witness}",)


def test_weights_that_hold_code_are_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model": Hostile(tmp_path / "ran")}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w\.pt: refused"):
        build("fercnn", classes=7, channels=1, size=48, weights=read_weights(tmp_path / "w.pt"))
    assert not (tmp_path / "ran").exists()


def test_mistakes_name_the_nearest(tmp_path: Path) -> None:
    torch.save(build("autoencoder", classes=2, channels=1, size=48).state_dict(), tmp_path / "w.pt")
    for options, message in (
        ({"name": "fercn"}, "fercnn"),
        ({"name": "torchvision/resnet19"}, "resnet1"),
        ({"name": "fercnn", "size": 8}, "16x16"),
        ({"name": "resnet18", "see": True}, "'se'"),
        ({"name": "fercnn", "weights": read_weights(tmp_path / "w.pt")}, "another model"),
        ({"name": "fercnn", "pretrained": True}, "torchvision/NAME"),
    ):
        with pytest.raises(UserError, match=message):
            build(**{"classes": 2, "channels": 1, "size": 48, **options})  # type: ignore[arg-type]
