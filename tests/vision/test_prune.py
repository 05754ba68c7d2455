"""Networks of images without some of their channels: rebuilt from their widths alone, or refused in one line."""

import pytest
import torch
from torch import Tensor, nn

from ptapp_core.compress.channels import remove_channels
from ptapp_core.errors import UserError
from ptapp_core.nn.widths import set_widths, widths_of
from ptapp_vision.models import build

pytestmark = pytest.mark.slow


def made(name: str, channels: int, size: int) -> nn.Module:
    torch.manual_seed(0)
    options = {"widths": (16, 32)} if name in ("fercnn", "unet") else {}
    return build(name, classes=5, channels=channels, size=size, of_pixels=name == "unet", **options).eval()


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [
        ("fercnn", 1, 16),
        ("resnet18", 1, 16),
        ("unet", 3, 16),
        ("torchvision/efficientnet_b0", 3, 32),
        ("torchvision/googlenet", 3, 32),
        ("torchvision/mobilenet_v2", 3, 32),
        ("torchvision/mobilenet_v3_small", 1, 32),
        ("torchvision/regnet_y_400mf", 1, 32),
        ("torchvision/resnet18", 3, 32),
        ("torchvision/squeezenet1_1", 3, 32),
    ],
)
def test_a_pruned_network_is_rebuilt_from_its_widths(name: str, channels: int, size: int) -> None:
    network, x = made(name, channels, size), torch.randn(2, channels, size, size)
    before = _parameters(network)
    remove_channels(network, x, 0.5)
    assert _parameters(network) < 0.6 * before
    rebuilt = made(name, channels, size)
    set_widths(rebuilt, widths_of(network))
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(_logits(rebuilt, x), _logits(network, x))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision/vit_b_16", "net is a VisionTransformer with a parameter class_token"),
        ("torchvision/swin_t", "is a LayerNorm with a parameter weight"),
        ("torchvision/convnext_tiny", "is a LayerNorm2d with a parameter weight"),
        ("torchvision/shufflenet_v2_x0_5", "the channels of this network cannot be followed"),
    ],
)
def test_what_cannot_lose_channels_is_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        remove_channels(made(name, 3, 32), torch.randn(2, 3, 32, 32), 0.5)
    assert "\n" not in str(caught.value)


def _parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


@torch.no_grad()
def _logits(network: nn.Module, x: Tensor) -> Tensor:
    return network.eval()(x)
