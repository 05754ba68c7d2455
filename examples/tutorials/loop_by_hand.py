"""Trains a small network by a loop that is written out."""

import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(512, 2)
target = (x[:, 0] * x[:, 1] > 0).long()  # whether the signs are equal: no line separates it
model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
loss = nn.CrossEntropyLoss(reduction="sum")
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

model.train()
for step in range(160):
    rows = torch.arange(512)[step % 8 * 64 :][:64]
    optimizer.zero_grad()
    value = loss(model(x[rows]), target[rows]) / 64
    value.backward()
    optimizer.step()

model.eval()
with torch.no_grad():
    logits = model(x)
print(f"loss {loss(logits, target) / 512:.4f}  accuracy {(logits.argmax(1) == target).float().mean():.3f}")
print(f"first weight {model[0].weight[0, 0]:.6f}")
