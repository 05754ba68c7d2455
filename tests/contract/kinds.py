"""What the rows of labels, numbers, several tasks and embeddings share: learners."""

import torch
from torch import Tensor, nn

from ptapp_core.data.loader import Loader
from ptapp_core.kinds.classify import Classify
from ptapp_core.kinds.embed import Embed
from ptapp_core.kinds.kind import VectorKind
from ptapp_core.kinds.multitask import Multitask
from ptapp_core.kinds.regress import Regress
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_core.task import Source, Task


def learner(
    kind: VectorKind, model: nn.Module, inputs: Tensor, accumulate: int, runtime: Runtime
) -> tuple[Task, Source, Evaluate]:
    """A task of a kind, on inputs (N, ...) whose targets are drawn: 0 or 1."""
    data = {"input": inputs, "target": torch.randint(0, 2, (len(inputs), kind.width)).float()}
    loader = Loader(data, 12, runtime, accumulate=accumulate)
    loss = kind.loss(None, data["target"], weighed=False, label_smoothing=0.0)

    def evaluate(measured: nn.Module) -> dict[str, float]:
        return kind.predict(measured, data, runtime, batch_size=10).figures(loss)

    return kind.task(model, loss), loader, evaluate


class _Whole(nn.Module):
    """A network with its kind of target, as models have it."""

    def __init__(self, net: nn.Module, kind: VectorKind) -> None:
        super().__init__()
        self.net, self.kind = net, kind

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)


def embedder(net: nn.Module, inputs: Tensor, accumulate: int, runtime: Runtime) -> tuple[Task, Source, Evaluate]:
    """A task of embeddings, on inputs (N, ...) of three classes; of one there is a single sample."""
    kind = Embed(["one", "two", "lone"], 4)
    target = torch.randint(0, 2, (len(inputs),))
    target[5] = 2
    data, model, loss = {"input": inputs, "target": target}, _Whole(net, kind), build_loss("contrastive", margin=0.5)
    loader = Loader(data, 12, runtime, accumulate=accumulate, companions=kind.companions(target))

    def evaluate(measured: nn.Module) -> dict[str, float]:
        return kind.predict(measured, data, runtime, batch_size=10).figures(loss)

    return kind.task(model, loss), loader, evaluate


def two_tasks() -> Multitask:
    """A class of two, and a number: three outputs."""
    return Multitask(["shape", "size"], [Classify(["round", "square"]), Regress(["size"], [0.5], [0.5])])
