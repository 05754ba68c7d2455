"""Tensors, shapes and gradients: what each line of a training loop rests on."""

import torch
from torch import nn

torch.manual_seed(0)

print("shapes")
images = torch.arange(24.0).reshape(2, 3, 4)  # 2 samples of 3 rows and 4 columns
print("  mean over columns", tuple(images.mean(dim=2).shape))
print("  plus one number a row", tuple((images + torch.tensor([[10.0], [20.0], [30.0]])).shape))
print("  flattened, a row each", tuple(images.flatten(1).shape))

print("a view shares memory, an index by a list copies")
row, copy = images[0, 0], images[0, [0]]
row[0] = 99
print("  view", images[0, 0, 0].item(), " copy", copy[0, 0].item())

print("a gradient is the slope")
x = torch.tensor(3.0, requires_grad=True)
y = x**2 + 2 * x
y.backward()
with torch.no_grad():
    slope = ((x + 0.01) ** 2 + 2 * (x + 0.01) - y) / 0.01
print(f"  autograd {x.grad:.2f}  by differences {slope:.2f}")

print("gradients add up until they are zeroed")
for step in (1, 2):
    (x**2).backward()
    print(f"  after backward {step}: {x.grad:.2f}")

print("no gradient flows through a detached tensor")
w = torch.tensor(2.0, requires_grad=True)
(w * w.detach()).backward()
print(f"  d(w * w) with one factor detached: {w.grad:.2f}")

print("cross-entropy takes logits")
logits, target = torch.tensor([[4.0, 0.0]]), torch.tensor([0])
print(f"  of logits {nn.functional.cross_entropy(logits, target):.4f}")
print(f"  of their softmax {nn.functional.cross_entropy(logits.softmax(1), target):.4f}")

print("dropout in the two modes")
dropout = nn.Dropout(0.5)
print("  train", dropout(torch.ones(6)).tolist())
print("  eval ", dropout.eval()(torch.ones(6)).tolist())
