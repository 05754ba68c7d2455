"""Jobs whose ranks have a share each of the weights, for `test_sharding`; `main` runs a list of them on each rank."""

import json
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ptapp_core.data.loader import Loader
from ptapp_core.errors import UserError
from ptapp_core.fit import fit
from ptapp_core.kinds.kind import Supervised
from ptapp_core.loop.milestones import Diverged
from ptapp_core.loop.optim import build_optimizer, build_schedule
from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.sharding import held_by, local, unshard
from ptapp_core.nn.attention import MultiHeadAttention
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.nn.transformer import Stack
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run

STEPS = 20


class Recurrent(nn.Module):
    """Words (N, L) to a word (N, 5): an LSTM, and one table of words at both ends."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm, self.out = nn.Embedding(5, 6), nn.LSTM(6, 6, batch_first=True), nn.Linear(6, 5)
        self.out.weight = self.table.weight

    def forward(self, words: Tensor) -> Tensor:
        outputs, _ = self.lstm(self.table(words))
        logits: Tensor = self.out(outputs[:, -1])
        return logits


class Attentive(nn.Module):
    """Words (N, L) to a word (N, 5) by two layers of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.stack, self.out = nn.Embedding(5, 8), Stack(2, 8, 2, hidden=16), nn.Linear(8, 5)

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.out(self.stack(self.table(words)).mean(1))
        return logits


class Translating(nn.Module):
    """Words (N, L) to a word (N, 5), by layers of four heads that see each other and the words, with one table."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 8)
        self.encoder = Stack(1, 8, 4, hidden=16, dropout=dropout)
        self.decoder = Stack(2, 8, 4, hidden=12, cross=True, pre_norm=False)

    def forward(self, words: Tensor) -> Tensor:
        memory = self.encoder(self.table(words), keep=words > 0)
        return nn.functional.linear(self.decoder(self.table(words), memory, causal=True).mean(1), self.table.weight)


class ByName(nn.Module):
    """Words (N, L) to a word (N, 5), by an attention that gets its memory by name, or, `apart`, is not called."""

    def __init__(self, *, apart: bool = False) -> None:
        super().__init__()
        self.table, self.attention, self.apart = nn.Embedding(5, 8), MultiHeadAttention(8, 4), apart

    def forward(self, words: Tensor) -> Tensor:
        x = self.table(words)
        mixed = self.attention.with_maps(x)[0] if self.apart else self.attention(x, memory=x.sin())
        return nn.functional.linear(mixed.mean(1), self.table.weight)


def plain(width: int = 9) -> nn.Module:
    """Words (N, 4), as they are numbered, to a word (N, 5); 5 rows are no multiple of the ranks."""
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 5))


class Twice(nn.Module):
    """Numbers (N, 4) to a word (N, 5), by a layer that stands twice in a list."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Linear(4, 4)
        self.layers, self.out = nn.ModuleList([layer, layer]), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        logits: Tensor = self.out(x)
        return logits


class Tied(nn.Module):
    """Numbers (N, 4) to a word (N, 5), by two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 5)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.other(self.one(x).tanh()))
        return logits


def resting(rate: float) -> nn.Module:
    """As `plain`, with dropout, in eval mode, as a network with downloaded weights may be."""
    return nn.Sequential(nn.Linear(4, 9), nn.Dropout(rate), nn.Linear(9, 5)).eval()


class Misused(nn.Module):
    """Numbers (N, 4) to a word (N, 5), by the weights of a part that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.part.weight, self.part.bias)


class Scaled(nn.Module):
    """Words (N, 4) to a word (N, 5), with a factor that has no dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.factor = plain(), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x.float()) * self.factor
        return logits


class Case(NamedTuple):
    """What differs between the jobs."""

    network: Callable[[], nn.Module] = plain
    optimizer: str = "adamw"
    blocks: Callable[[Any], list[nn.Module]] = lambda network: []
    accumulate: int = 1
    average: Any = "none"
    clip: float | None = None


CASES = {
    "adamw": Case(lambda: plain(64), blocks=lambda network: list(network)[::2], average="ema", clip=0.05),
    "sgd": Case(optimizer="sgd", accumulate=3, average="swa"),
    "adagrad": Case(optimizer="adagrad"),
    "recurrent": Case(Recurrent, accumulate=2),
    "transformer sgd": Case(Attentive, "sgd", blocks=lambda network: list(network.stack.layers), clip=0.5),
    "transformer": Case(Attentive, blocks=lambda network: list(network.stack.layers)),
    "twice": Case(Twice, blocks=lambda network: [*network.layers, network.out]),
    "begun in eval": Case(lambda: resting(1.0)),  # which drops everything, on any number of ranks
}
RANDOM = {"dropout": Case(lambda: resting(0.5))}
"""Those that learn something else with another number of ranks."""
TENSOR = {
    "heads": Case(Translating, average="ema", clip=0.05),
    "heads sgd": Case(Translating, "sgd", accumulate=3, clip=0.5, average="swa"),
    "heads dropout": Case(lambda: Translating(0.3)),
    "heads by name": Case(ByName, "sgd"),
    "heads apart": Case(lambda: ByName(apart=True)),  # which is refused
}
"""Those of layers that ranks compute together."""
REFUSED = {
    "misused": Case(Misused, blocks=lambda network: [network.part]),
    "scaled": Case(Scaled),
    "tied parts": Case(Tied, blocks=lambda network: [network.one, network.other]),
    "tied outside": Case(Tied, blocks=lambda network: [network.one]),
}


def learn(
    folder: Path, name: str, *, sharded: bool, steps: int = STEPS, say: Any = None, group: int | None = None,
    save_async: bool = False, tensor: int = 1,
) -> Optimizer:  # fmt: skip
    """A case, from where it was, with a checkpoint each 4 steps; the optimizer as it is at the end.

    Of the ranks that are `sharded`, each `group` share a copy of the weights, or all do. Of the others, each `tensor`
    compute each layer together.
    """
    case = {**CASES, **RANDOM, **TENSOR, **REFUSED}[name.removesuffix(" infinite")]
    runtime = Runtime(
        "cpu", "fp32", threads=1, sharded=sharded, shard_ranks=group, tensor_ranks=tensor
    ).set_up_process()
    torch.manual_seed(0)
    network = case.network()
    task = Supervised(network, CrossEntropy())
    task.blocks = case.blocks(network)
    generator = torch.Generator().manual_seed(5)
    words = torch.randint(0, 5, (17, 4), generator=generator)
    # batches of 8, 8 and 1: a single rank has the sample of the last
    data = {
        "input": words if isinstance(network, Recurrent | Attentive | Translating | ByName) else words.float(),
        "target": words[:, 2],
    }
    if name.endswith("infinite") and runtime.rank == 1:
        task.loss.forward = lambda logits, target: logits.sum() + float("inf")  # type: ignore[method-assign]
    loader = Loader(data, 8, runtime, accumulate=case.accumulate)
    optimizer = build_optimizer(network, case.optimizer, lr=0.02, weight_decay=0.01)
    plan = Plan(
        steps, accumulate=case.accumulate, clip=case.clip, log_every=5, eval_every=6, save_every=4,
        average=case.average, average_decay=0.9, schedule_steps=STEPS,
    )  # fmt: skip

    def evaluate(measured: nn.Module) -> dict[str, float]:
        own = torch.arange(runtime.rank, 17, runtime.world)
        logits = torch.cat([measured(data["input"][each : each + 1]) for each in own])  # ranks measure at their pace
        share = nn.functional.cross_entropy(logits, data["target"][own], reduction="sum").item()
        return {"loss": runtime.total(share)[0] / 17}

    with Run(folder, runtime, resume=folder.exists(), keep=9, save_async=save_async) as run:
        if say is not None:
            run.say = say  # type: ignore[method-assign]
        try:
            fit(
                plan, runtime, run, task=task, source=loader, optimizer=optimizer, evaluate=evaluate,
                schedule=build_schedule(optimizer, "cosine", steps=STEPS, warmup=2),
            )  # fmt: skip
        except Diverged as error:
            run.say(str(error))
            unshard(task)
    if runtime.is_main:
        save_file({key: value.clone() for key, value in network.state_dict().items()}, folder / "learned.safetensors")
    return optimizer


def held(optimizer: Optimizer) -> int:
    """The bytes of a rank's weights and of what the optimizer keeps of them."""
    weights = [local(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    kept = [local(value) for state in optimizer.state.values() for value in state.values()]
    return sum(tensor.nbytes for tensor in (*weights, *kept))


def digest(optimizer: Optimizer, *, whole: bool = False) -> str:
    """What differs where a bit of a rank's weights does, or of those `whole` ones that all ranks of a group have."""
    weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    own = [local(parameter) for parameter in weights if not whole or held_by(parameter) > 1]
    return sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in own)).hexdigest()


def main(words: list[str]) -> int:
    """Runs cases in folders of their names, and leaves what each rank held and said.

    Each rank has a share, of all that there is, or of the copy of its pair of ranks where the first word is `pairs`,
    or all where that is `ddp`. Before it may stand `async`.
    """
    late = words[0] == "async"
    form = words[late] if words[late] in ("pairs", "ddp", "tensor 2", "tensor 4") else ""
    folder, *names = words[late + bool(form) :]
    rank = Runtime("cpu").rank
    for name in names:
        said: list[str] = []
        kept: dict[str, Any] = {}
        try:
            optimizer = learn(
                Path(folder, name), name, sharded=form in ("", "pairs"), say=said.append,
                group=2 if form == "pairs" else None, save_async=late,
                tensor=int(form.removeprefix("tensor ")) if form.startswith("tensor") else 1,
            )  # fmt: skip
            kept = {"held": held(optimizer), "digest": digest(optimizer)}
            if form.startswith("tensor"):
                kept["whole"] = digest(optimizer, whole=True)
        except UserError as error:
            said.append(str(error))
        Path(folder, f"{name}-{rank}.json").write_text(json.dumps({**kept, "said": said}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
