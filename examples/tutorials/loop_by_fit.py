"""Trains a small network by ptapp's loop."""

import tempfile

import torch
from torch import nn

from ptapp_core.data.loader import Loader
from ptapp_core.fit import fit
from ptapp_core.kinds.kind import Supervised
from ptapp_core.machine.runtime import Runtime
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run

torch.manual_seed(0)
x = torch.randn(512, 2)
target = (x[:, 0] * x[:, 1] > 0).long()  # whether the signs are equal: no line separates it
model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
loss = nn.CrossEntropyLoss(reduction="sum")
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

runtime = Runtime("cpu", "fp32")
source = Loader({"input": x, "target": target}, 64, runtime, order=lambda generator: torch.arange(512))
with tempfile.TemporaryDirectory() as folder, Run(folder, runtime) as run:
    fit(Plan(steps=160), runtime, run, task=Supervised(model, loss), source=source, optimizer=optimizer)

model.eval()
with torch.no_grad():
    logits = model(x)
print(f"loss {loss(logits, target) / 512:.4f}  accuracy {(logits.argmax(1) == target).float().mean():.3f}")
print(f"first weight {model[0].weight[0, 0]:.6f}")
