"""What fp16 and bf16 can and cannot hold, and what a training step keeps in memory."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

print(f"{'':<10}{'largest':>10}{'smallest':>10}{'after 1':>10}")
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    about = torch.finfo(dtype)
    print(f"{str(dtype)[6:]:<10}{about.max:10.1e}{about.smallest_normal:10.1e}{1 + about.eps:10.7g}")

small = torch.tensor(2e-8)
print(f"a gradient of 2e-8: fp16 {small.half().item():.1e}, bf16 {small.bfloat16().item():.1e}")
print(f"  scaled by 65536 in fp16: {((small * 65536).half().float() / 65536).item():.1e}")
weight = torch.tensor(1.0)
print(f"a step of 0.001 from 1: fp32 {(weight + 0.001).item():.4f}, bf16 {(weight.bfloat16() + 0.001).item():.4f}")


def kept(model: nn.Module, step: Callable[[], Tensor]) -> float:
    """MB that autograd keeps from the forward pass for the backward pass, each storage once.

    The weights of `model` do not count; copies of them in another format, which autocast makes, do.
    """
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = step()  # held until the sizes are added up: no address is used twice
    total = sum(sizes.values()) / 1e6
    loss.backward()
    return total


torch.manual_seed(0)
blocks = nn.ModuleList(nn.Sequential(nn.Linear(512, 512), nn.GELU(), nn.LayerNorm(512)) for _ in range(8))
x = torch.randn(256, 512)


def forward(y: Tensor, again: bool = False) -> Tensor:
    """The mean square of what the blocks give; `again`: each block is computed once more in the backward pass."""
    for block in blocks:
        y = checkpoint(block, y, use_reentrant=False) if again else block(y)
    return y.float().square().mean()


def in_bf16() -> Tensor:
    """The same under autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        return forward(x)


weights = sum(each.numel() * 4 for each in blocks.parameters()) / 1e6
print(f"weights {weights:.1f} MB, gradients {weights:.1f} MB, Adam's two means {2 * weights:.1f} MB")
for name, step in {
    "fp32": lambda: forward(x),
    "bf16 autocast": in_bf16,
    "fp32, checkpointed": lambda: forward(x, again=True),
}.items():
    print(f"kept for the backward pass, {name}: {kept(blocks, step):.1f} MB")
exact, rounded = forward(x).item(), in_bf16().item()
print(f"loss in fp32 {exact:.4f}, in bf16 {rounded:.4f}")
