"""Attention from its formula, a Transformer block around it, and a picture of what it looks at.

Vaswani et al. 2017, "Attention is all you need". The task: give a sequence of digits back in reverse order.
"""

import matplotlib
import torch
from torch import Tensor, nn

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LENGTH, DIGITS, WIDTH, HEADS = 8, 10, 32, 2


def attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(QKᵀ/√width)·V of (N, heads, length, width), and the map (N, heads, length, length)."""
    weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
    return weights @ value, weights


class Block(nn.Module):
    """Attention and a small network, each added to what went in and normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.project, self.join = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.network = nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, WIDTH))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, length, WIDTH) to the same, and the map."""
        heads = self.project(x).unflatten(2, (3 * HEADS, WIDTH // HEADS)).transpose(1, 2)
        mixed, weights = attention(*heads.chunk(3, dim=1))
        x = self.norms[0](x + self.join(mixed.transpose(1, 2).flatten(2)))
        return self.norms[1](x + self.network(x)), weights


class Reverser(nn.Module):
    """Digits (N, LENGTH) to logits (N, LENGTH, DIGITS)."""

    def __init__(self, positions: bool = True) -> None:
        super().__init__()
        self.digits, self.head = nn.Embedding(DIGITS, WIDTH), nn.Linear(WIDTH, DIGITS)
        self.places = nn.Parameter(torch.randn(LENGTH, WIDTH) if positions else torch.zeros(LENGTH, WIDTH), positions)
        self.block = Block()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and the map (N, HEADS, LENGTH, LENGTH)."""
        states, weights = self.block(self.digits(x) + self.places)
        return self.head(states), weights


torch.manual_seed(0)
q, k, v = torch.randn(3, 1, 2, 5, 16)
ours, built_in = attention(q, k, v)[0], nn.functional.scaled_dot_product_attention(q, k, v)
print("equals torch's attention:", torch.allclose(ours, built_in, atol=1e-6))
spread = (torch.randn(10000, 512) * torch.randn(10000, 512)).sum(1).std()
print(f"deviation of q·k at width 512: {spread:.1f}, divided by the root of the width: {spread / 512**0.5:.2f}")

for positions in (False, True):
    torch.manual_seed(0)
    model = Reverser(positions)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(300):
        digits = torch.randint(DIGITS, (64, LENGTH))
        loss = nn.functional.cross_entropy(model(digits)[0].transpose(1, 2), digits.flip(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    digits = torch.randint(DIGITS, (500, LENGTH))
    with torch.no_grad():
        logits, weights = model(digits)
    right = (logits.argmax(2) == digits.flip(1)).float().mean()
    print(f"{'with' if positions else 'without'} positions: {right:.1%} of the digits right")

mirrored = weights.flip(3).diagonal(dim1=2, dim2=3).mean((0, 2))
print("attention to the mirrored place, by head:", [round(share, 2) for share in mirrored.tolist()])
figure, axes = plt.subplots(1, HEADS, figsize=(6, 3), layout="constrained")
for number, axis in enumerate(axes):
    axis.imshow(weights.mean(0)[number], cmap="Blues", vmin=0, vmax=1)
    axis.set(title=f"head {number}", xlabel="position looked at", ylabel="position that looks")
figure.savefig("attention.png", dpi=100)
