"""Text beside its peers, on one thread.

    pip install -r benchmarks/requirements.txt
    python benchmarks/text_speed.py bert --data FOLDER     # fine-tuning beside transformers' Trainer
    python benchmarks/text_speed.py lstm --data FOLDER     # beside a plain loop over padded batches
    python benchmarks/text_speed.py cache --picture FILE   # generation with and without the keys and values kept
    python benchmarks/text_speed.py onnx                   # latency of exports beside eager

FOLDER is one that `ptapp nlp train` takes. What is timed is the process's own processor time, which a busy machine
distorts less than the clock on the wall; the contenders of a round take turns, and a ratio is that of one round.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.data.loader import Loader
from ptapp_core.export import export
from ptapp_core.fit import fit
from ptapp_core.kinds.kind import Supervised
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_nlp.card import Card, Options
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.data.batches import Ragged, Texts, by_length
from ptapp_nlp.data.recognise import Reading, load
from ptapp_nlp.data.tokens import BOS, Tokens, learn
from ptapp_nlp.decode import LanguageSession, sample
from ptapp_nlp.models import LanguageModel, build
from ptapp_nlp.models.bert import PretrainedEncoder
from ptapp_nlp.models.heads import Classifier

BATCH = 32
Rows = list[list[int]]


def read(data: str, kind: str) -> tuple[Rows, list[int], Tokens]:
    """Token numbers and classes of the training texts."""
    train = load(data, Reading("classify"), division=None).train
    tokens = learn(kind, train.source, 8000, lower=True, least=1)
    return tokens.encode(train.source, 128), list(train.target), tokens


def ptapp(model: nn.Module, rows: Rows, target: list[int], pad: int, lr: float, steps: int) -> None:
    """As `ptapp nlp train` does it: batches by length, bf16 where the processor has it."""
    runtime = Runtime("cpu")
    texts = Texts({"input": Ragged(rows, pad), "target": torch.tensor(target)})
    loader = Loader(texts, BATCH, runtime, order=by_length(texts.lengths, BATCH))
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run", runtime, log_to=[]) as run:
        task, optimizer = Supervised(model, build_loss("cross-entropy")), build_optimizer(model, "adamw", lr=lr)
        fit(Plan(steps, clip=1.0), runtime, run, task=task, source=loader, optimizer=optimizer)


def bert(data: str, steps: int, rounds: int) -> None:
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        DataCollatorWithPadding,
        PreTrainedTokenizerFast,
        Trainer,
        TrainingArguments,
    )

    rows, target, tokens = read(data, "wordpiece")
    shape = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    config = BertConfig(vocab_size=tokens.size, pad_token_id=tokens.pad, **shape)

    def ours(count: int) -> None:
        encoder = PretrainedEncoder(config.to_dict(), None, tokens.pad)
        ptapp(Classifier(encoder, 2, "first", dropout=0.1), rows, target, tokens.pad, 2e-5, count)

    def theirs(count: int) -> None:
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens.tokenizer, pad_token="[PAD]")
        samples = [{"input_ids": row, "labels": label} for row, label in zip(rows, target, strict=True)]
        with tempfile.TemporaryDirectory() as folder:
            settings = TrainingArguments(
                folder, max_steps=count, per_device_train_batch_size=BATCH, use_cpu=True, report_to=[],
                save_strategy="no", disable_tqdm=True,
            )  # fmt: skip
            collate = DataCollatorWithPadding(tokenizer)
            model = BertForSequenceClassification(config)
            Trainer(model, settings, data_collator=collate, train_dataset=samples).train()  # type: ignore[arg-type]

    race({"transformers' Trainer": theirs, "ptapp": ours}, steps, rounds)


class PlainLSTM(nn.Module):
    """The same network as a user would write it."""

    def __init__(self, vocab: int, pad: int) -> None:
        super().__init__()
        self.pad, self.embedding = pad, nn.Embedding(vocab, 256, padding_idx=pad)
        self.reading = nn.LSTM(256, 128, batch_first=True, bidirectional=True)
        self.dropout, self.head = nn.Dropout(0.5), nn.Linear(256, 2)

    def forward(self, ids: Tensor) -> Tensor:
        keep = (ids != self.pad)[:, :, None]
        states = self.reading(self.dropout(self.embedding(ids)))[0]
        return self.head(self.dropout((states * keep).sum(1) / keep.sum(1)))


def card_of_two(name: str, settings: TrainNLP, *, vocab: int, pad: int) -> Card:
    """A classifier of two classes."""
    options = Options(**{field: getattr(settings, field) for field in Options.model_fields})
    return Card(
        task="classify", name=name, vocab=vocab, pad=pad, classes=("0", "1"), max_length=128, text_per="line",
        pretrained=None, options=options,
    )  # fmt: skip


def lstm(data: str, steps: int, rounds: int) -> None:
    rows, target, tokens = read(data, "word")
    settings = TrainNLP()
    card = card_of_two("lstm", settings, vocab=tokens.size, pad=tokens.pad)

    def ours(count: int) -> None:
        ptapp(build(card), rows, target, tokens.pad, settings.lr, count)

    def theirs(count: int) -> None:
        def collate(batch: list[int]) -> tuple[Tensor, Tensor]:
            texts = [torch.tensor(rows[row]) for row in batch]
            padded = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=tokens.pad)
            return padded, torch.tensor([target[row] for row in batch])

        model = PlainLSTM(tokens.size, tokens.pad)
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr)
        indices: Any = range(len(rows))
        batches = torch.utils.data.DataLoader(indices, BATCH, shuffle=True, collate_fn=collate)
        for _, (ids, truth) in zip(range(count), batches, strict=False):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(ids), truth).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    race({"a plain padded loop": theirs, "ptapp": ours}, steps, rounds)


def race(contenders: dict[str, Callable[[int], None]], steps: int, rounds: int) -> None:
    """Prints samples a second of each, the median of the rounds, and the ratios to the first."""
    for run in contenders.values():
        run(3)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            rates[name].append(steps * BATCH / seconds(lambda run=run: run(steps)))  # type: ignore[misc]
    first = next(iter(rates.values()))
    for name, own in rates.items():
        ratio = statistics.median(one / other for one, other in zip(own, first, strict=True))
        print(f"{name:24}  {statistics.median(own):6.0f} samples/s  {ratio:.2f} times")


def seconds(action: Callable[[], object]) -> float:
    """Of the processor."""
    started = time.process_time()
    action()
    return time.process_time() - started


def cache(lengths: list[int], picture: Path | None) -> None:
    """A transformer of 4 layers, 128 wide, that writes one text."""
    torch.manual_seed(0)
    model = LanguageModel(4000, 128, 4, hidden=512, layers=4).eval()
    model.embedding.tokens.weight.data[3] = -1e3  # no end mark before the length is reached
    rates: dict[str, list[float]] = {"with the cache": [], "without": []}
    for length in lengths:
        for (name, own), cached in zip(rates.items(), (True, False), strict=True):
            session = LanguageSession(model, max(lengths) + 1, cached=cached)
            first = torch.full((1, 1), BOS)
            own.append(length / seconds(lambda s=session, n=length, f=first: sample(s.advance, f, n)))  # type: ignore[misc]
            print(f"{length:5} tokens {name:15}  {own[-1]:7.0f} tokens/s")
    if picture:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
        for name, own in rates.items():
            axes.plot(lengths, [1000 / rate for rate in own], marker="o", label=name)
        axes.set(xlabel="length of the text in tokens", ylabel="ms a token", xscale="log", ylim=(0, None))
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths], minor=False)
        axes.minorticks_off()
        axes.legend()
        figure.savefig(picture, dpi=100)


@torch.no_grad()
def onnx(calls: int = 200) -> None:
    """A text of 24 tokens at a time."""
    import onnxruntime

    ids = torch.randint(4, 8000, (7, 24))
    for name in ("lstm", "gru", "transformer"):
        model = build(card_of_two(name, TrainNLP(model=name), vocab=8000, pad=0)).eval()
        with tempfile.TemporaryDirectory() as folder:
            free = (("batch", "length"),)
            path, _ = export(
                model, ids, Path(folder), format="onnx", about={}, free=free, recurrent=name != "transformer"
            )
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(str(path), options)
        one, array = ids[:1], {"input": ids[:1].numpy()}
        ways = {"eager": lambda m=model, x=one: m(x), "onnx": lambda s=session, x=array: s.run(None, x)}  # type: ignore[misc]
        times = {way: [seconds(call) for _ in range(calls)] for way, call in ways.items()}
        print(name, *(f"{way} {1e3 * statistics.median(own):.2f} ms" for way, own in times.items()), sep="  ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bert", "lstm", "cache", "onnx"])
    parser.add_argument("--data", help="folder of texts and classes")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what in ("bert", "lstm"):
        if given.data is None:
            parser.error("--data is needed")
        (bert if given.what == "bert" else lstm)(given.data, given.steps, given.rounds)
    elif given.what == "cache":
        cache(given.lengths, given.picture)
    else:
        onnx()


if __name__ == "__main__":
    main()
