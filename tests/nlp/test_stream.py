"""One long text: its windows, its division, its figures, and how a text that is written ends."""

import json
from dataclasses import replace
from functools import cache
from math import log
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch.nn import functional

from contract.rows import record
from nlp.cards import card_for
from nlp.jobs import train
from ptapp_core.data.split import SPLITS
from ptapp_core.domain import Place
from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.log import lower_is_better
from ptapp_core.tune.space import read_space
from ptapp_nlp.card import card_of
from ptapp_nlp.config import GenerateNLP, TrainNLP
from ptapp_nlp.data.batches import Texts
from ptapp_nlp.data.encode import IGNORED
from ptapp_nlp.data.recognise import Reading, load
from ptapp_nlp.data.splits import Examples, Splits
from ptapp_nlp.data.stream import Places, Stream
from ptapp_nlp.data.tokens import Tokens, learn
from ptapp_nlp.evaluate import Measured, measure, prepare
from ptapp_nlp.models import build
from ptapp_nlp.models.tasks import generated
from ptapp_nlp.said import Said
from ptapp_nlp.train import logs_bits

PLAY = "ROMEO:\nWhat light? Café \u2603\n\nJULIET:\nAy me!\n\n" * 40
sizes = some.integers(1, 60)


def counted(texts: Texts, length: int) -> list[tuple[int, int]]:
    """Each token that is predicted, in order, and how many tokens it is predicted from."""
    found = []
    for row in range(len(texts)):
        batch = texts.gather(torch.tensor([row]))
        logits, target = generated(lambda ids: ids, batch, 0)
        known = (target[0] != IGNORED).nonzero().flatten().tolist()
        assert batch["units"] == len(known)
        assert batch["input"].shape[1] <= length + 1
        assert target[0, known].tolist() == batch["input"][0, 1:][known].tolist()
        found += [(int(target[0, place]), place + 1) for place in known]
        assert torch.equal(logits, batch["input"][:, :-1])
    return found


@given(count=sizes, length=sizes, overlap=some.integers(0, 59))
def test_every_token_is_measured_once_from_as_many_as_windows_share(count: int, length: int, overlap: int) -> None:
    tokens = [*range(1000, 1001 + count)]
    own = min(overlap, length - 1)
    measured = counted(Stream(tokens, length).overlapping(overlap, 0), length)
    assert [token for token, _ in measured] == tokens[1:]
    assert all(seen >= min(own + 1, place) for place, (_, seen) in enumerate(measured, start=1))


@given(count=sizes, length=sizes, seed=some.integers(0, 99))
def test_an_epoch_learns_every_token_and_only_those_at_the_ends_again(count: int, length: int, seed: int) -> None:
    stream = Stream([*range(count + 1)], length)
    starts = stream.order(torch.Generator().manual_seed(seed))
    batch = stream.gather(starts)
    assert len(starts) == len(stream) == len(stream.lengths)
    assert batch["units"] == batch["input"][:, 1:].numel()
    assert torch.equal(batch["input"], starts[:, None] + torch.arange(stream.length + 1))
    times = batch["input"][:, 1:].flatten().bincount(minlength=count + 1)[1:]
    assert times.min() >= 1
    assert set(times[length : count - length].tolist()) <= {1}
    assert times.max() <= 3


def test_another_epoch_is_cut_elsewhere_and_the_same_one_is_not() -> None:
    stream = Stream([*range(1001)], 50)
    orders = [stream.order(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    cuts = {int(orders[seed].median()) % 50 for seed in (0, 2)}
    assert len(cuts) == 2
    assert Places(1001)[20] == "the window after token 20"


def parts_of(text: str, folder: Path, tokenizer: str = "char") -> tuple[Splits, Tokens, dict[str, Measured]]:
    folder.mkdir(exist_ok=True)
    (folder / "play.txt").write_text(text, encoding="utf-8")
    data = load(str(folder / "play.txt"), Reading("generate"))
    tokens = learn(tokenizer, data.train.source, 300, lower=False, least=1, running=True)
    card = card_for("generate", "transformer", vocab=tokens.size, text_per="file", max_length=16, overlap=8)
    return data, tokens, {name: prepare(card, data.part(name), tokens) for name in SPLITS}


@pytest.mark.parametrize("tokenizer", ["char", "bpe"])
def test_a_split_is_a_stretch_of_the_text_with_its_line_breaks(tokenizer: str, tmp_path: Path) -> None:
    data, tokens, parts = parts_of(PLAY, tmp_path, tokenizer)
    assert data.text_per == "file"
    texts = {}
    for name, part in parts.items():
        measured = [token for token, _ in counted(part.whole, 16)]
        (texts[name],) = tokens.decode([measured], strip=False)
        assert isinstance(part.texts, Stream)
        assert part.texts.tokens[1:].tolist() == measured  # nothing of another split before it, either
        assert texts[name] == "".join(data.part(name).source)
    assert "".join(texts.values()) == PLAY.rstrip() + "\n"
    assert all(len(texts[name]) == pytest.approx(len(PLAY) / 10, abs=30) for name in ("val", "test"))


def test_a_text_of_one_line_or_of_two_is_divided_all_the_same(tmp_path: Path) -> None:
    line = " ".join(f"word{number}" for number in range(300))
    for text in (line, f"{line}\n\n{line[:900]}", "\u4e00\u4e8c" * 600):
        data, _, _ = parts_of(text, tmp_path)
        assert "".join(piece for name in SPLITS for piece in data.part(name).source) == text + "\n"
        assert len("".join(data.val.source)) == pytest.approx(len(text) / 10, rel=0.2)
        assert data.text_per == "file"
    with pytest.raises(UserError, match=r"play.txt: has 1 line, too few to cut"):
        parts_of("ab", tmp_path)


def test_bits_are_those_of_a_character_and_not_of_a_token(tmp_path: Path) -> None:
    _, _, parts = parts_of("abab\n\n" * 200, tmp_path, "bpe")
    part = parts["val"]
    characters, count = len("".join(part.examples.source)), len(counted(part.whole, 16))
    assert count < characters
    assert part.character_bits(3 * log(2)) == pytest.approx(3 * count / characters)
    assert parts_of("abab\n\n" * 200, tmp_path)[2]["val"].character_bits(3 * log(2)) == pytest.approx(3)
    assert lower_is_better("val/bits_per_character")


def test_the_lengths_of_a_report_are_those_of_the_windows_that_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, drawn = parts_of(PLAY, tmp_path)[2]["val"], []
    monkeypatch.setattr("ptapp_nlp.pictures.lengths", lambda counts, *_, **__: drawn.append(counts.tolist()))
    place = Place(tmp_path / "report", "val", False, Runtime("cpu", "fp32"))
    measure(build(part.card), part, part.card, place=place)
    assert drawn == [part.whole.lengths.tolist()]
    assert len(drawn[0]) > len(part.texts)  # for they overlap


@pytest.mark.parametrize(
    ("kind", "count", "size"), [("char", 4, 8), ("word", 3, 8), ("wordpiece", 2, 8), ("bpe", 0, 0)]
)
def test_what_an_unknown_token_stands_for_costs_8_bits_a_byte(kind: str, count: int, size: int) -> None:
    tokens = learn(kind, ["a cat", "a dog"], 300, lower=False, least=1)
    texts = ["a \u2603\u2603 zz", "a cat"]
    assert tokens.unknown(texts) == (count, size)
    card = card_for("generate", "lstm", vocab=tokens.size)
    part = prepare(card, Examples(texts, [None] * 2, ["f:1", "f:2"]), tokens)
    assert part.whole.units is not None
    characters, units = 7 + 1 + 5 + 1, float(part.whole.units.sum())
    assert part.character_bits(0.0) == pytest.approx(8 * size / characters)
    assert part.character_bits(log(2)) == pytest.approx((units + 8 * size) / characters)


def test_random_letters_are_not_cheap_for_a_vocabulary_of_few_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = Random(0)
    lines = ["".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(200)]
    (tmp_path / "a.txt").write_text("".join(f"{line} the\n" for line in lines))
    words = ["--task", "generate", "--data", str(tmp_path / "a.txt"), "--tokenizer", "word", "--least", "2"]
    small = ["--model", "gru", "--dim", "8", "--steps", "6", "--eval-every", "0.5", "--max-length", "8"]
    run = train(tmp_path, *words, *small, "--monitor", "bits_per_character")
    report = json.loads((run / "report" / "metrics.json").read_text())
    assert report["unknown_tokens"] == pytest.approx(1 / 3)  # word, `the` and the end of the text
    assert report["test"]["bits_per_character"] > 8 * 8 / 13
    assert "unknown tokens: 33.33%, spelled at 8 bits a byte" in capsys.readouterr().out
    assert "val/bits_per_character" in set().union(*record(run))


def test_a_run_that_was_begun_without_bits_goes_on_so(tmp_path: Path) -> None:
    settings = TrainNLP(task="generate", resume=tmp_path)
    log_of = tmp_path / "metrics.jsonl"
    assert logs_bits(settings)
    for lines, expected in (
        ([{"step": 1, "loss": 1.0}], True),
        ([{"step": 1, "loss": 1.0}, {"step": 2, "val/loss": 1.0}], False),
        ([{"step": 2, "val/loss": 1.0, "val/bits_per_character": 1.0}], True),
    ):
        log_of.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert logs_bits(settings) == expected
    assert not logs_bits(TrainNLP(task="translate"))


@pytest.mark.parametrize("name", ["tokenizer=char,bpe", "vocab=300..900", "lower=true,false", "least=1..3"])
@pytest.mark.parametrize("monitor", ["loss", "val/perplexity", "accuracy", "bits_per_character"])
def test_tokenizers_are_not_compared_by_figures_of_tokens(name: str, monitor: str) -> None:
    def space(task: str) -> Any:
        tokens = {} if "tokenizer" in name else {"tokenizer": "char"}
        return read_space([name], TrainNLP, {"task": task, "monitor": monitor, **tokens})

    if monitor == "bits_per_character":
        assert [*space("generate")] == [name.partition("=")[0]]
        return
    with pytest.raises(UserError, match=r"changes the tokens, .* give --monitor bits_per_character"):
        space("generate")
    with pytest.raises(UserError, match=r"changes the tokens, .* compare their bleu and chrf"):
        space("translate")
    assert [*space("classify")] == [name.partition("=")[0]]


def test_a_run_that_cut_its_text_into_blocks_goes_on_so(tmp_path: Path) -> None:
    data, tokens, _ = parts_of(PLAY, tmp_path)
    settings = TrainNLP(task="generate", tokenizer="char", max_length=20)
    card = card_of(settings, data, tokens)
    assert card.overlap == 10
    for kept, expected in ((card.stored(), 10), ({"name": "transformer"}, None)):
        (tmp_path / "meta.json").write_text(json.dumps({"model": kept}))
        assert card_of(settings.model_copy(update={"resume": tmp_path}), data, tokens).overlap == expected
    blocks = prepare(card_of(settings, replace(data, text_per="line"), tokens), data.val, tokens)
    assert isinstance(blocks.texts, Texts)
    with pytest.raises(ValueError, match="overlap is for running text"):
        card_for("generate", "transformer", overlap=10)


@pytest.mark.parametrize("name", ["transformer", "lstm", "gru"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_first_loss_is_that_of_equal_chances(name: str, norm: str) -> None:
    torch.manual_seed(0)
    model = build(card_for("generate", name, {"dim": 128, "norm": norm, "layers": 4}, vocab=69))
    ids = torch.randint(4, 69, (16, 65)) % 40 + 4  # some tokens occur again and again, and others do not
    loss = functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert float(loss.detach()) == pytest.approx(log(69), abs=0.1)


KINDS = [("char", True), ("bpe", True), ("bpe", False), ("word", False), ("wordpiece", False)]


@pytest.mark.parametrize(("kind", "running"), KINDS)
@pytest.mark.parametrize("stop", [(), ("dog ",), ("ball,", "sees the"), ("never", "5\u20ac. ")])
def test_a_text_is_told_in_pieces_and_ends_before_a_stop_string(
    kind: str, running: bool, stop: tuple[str, ...]
) -> None:
    text = " the cat's caf\u00e9 \u2603 sees the dog , costs 5\u20ac. A ball, 5\u20ac "
    tokens = learn(kind, [text, "\n"] * 5, 300, lower=False, least=1, running=running)
    (ids,) = tokens.encode([text], 1000)
    for begun in (0, 4):
        told: list[str] = []
        said = Said(tokens, ids[:begun], stop=stop, strip=not running, tell=told.append)
        ended = False
        for number in ids[begun:]:
            ended = said.take(number)
            if ended:
                break
        (full,) = tokens.decode([ids], strip=False)
        found = [place for each in stop if (place := full.find(each)) >= 0]
        expected = full[: min(found)] if found else full
        assert ended == bool(found)
        assert said.whole() == "".join(told) == (expected if running else expected.strip())
        assert len(told) > 3 or found


def test_a_stop_string_of_the_prompt_ends_nothing_and_half_a_character_is_told_at_last() -> None:
    tokens = learn("bpe", ["ab"], 300, lower=False, running=True)
    told: list[str] = []
    said = Said(tokens, tokens.encode(["a\n"], 9)[0], stop=["\n", "\nb"], strip=False, tell=told.append)
    euro = tokens.encode(["\u20ac"], 9)[0]
    assert [said.take(number) for number in (*tokens.encode(["b"], 9)[0], *euro[:-1])] == [False] * len(euro)
    assert told == ["a\n", "b"]
    assert said.whole() == "a\nb\ufffd" == "".join(told)


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_what_looks_like_half_a_character_is_told_once(kind: str) -> None:
    tokens = learn(kind, ["ab\ufffd\u20ac"] * 3, 300, lower=False, least=1, running=True)
    told: list[str] = []
    prompt, rest = tokens.encode(["a\ufffd", "\ufffd\u20ac\ufffdb\ufffd"], 99)
    said = Said(tokens, prompt, stop=["\ufffda"], strip=False, tell=told.append)
    assert not any(map(said.take, rest))
    assert told[0] == "a\ufffd"
    assert said.whole() == "a\ufffd\ufffd\u20ac\ufffdb\ufffd" == "".join(told)


@given(rows=some.lists(some.integers(0, 299), max_size=30), begun=some.integers(0, 30), kind=some.sampled_from(KINDS))
def test_the_pieces_of_any_tokens_are_the_text_of_all(rows: list[int], begun: int, kind: tuple[str, bool]) -> None:
    tokens = learned(*kind)
    numbers, told = [number % tokens.size for number in rows], []
    said = Said(tokens, numbers[:begun], strip=False, tell=told.append)
    assert not any(map(said.take, numbers[begun:]))
    (text,) = tokens.decode([numbers], strip=False)
    assert said.whole() == text == "".join(told)


@cache
def learned(kind: str, running: bool) -> Tokens:
    texts = ["the cat's caf\u00e9 \u2603 costs 5\u20ac. \ufffd", "\n"]
    return learn(kind, texts * 3, 300, lower=False, running=running)


@pytest.mark.parametrize("stop", ["", "x" * 101])
def test_a_stop_string_is_neither_empty_nor_endless(stop: str) -> None:
    tokens = learned("char", True)
    Said(tokens, [], stop=["x" * 100], strip=False)
    with pytest.raises(UserError, match=r"^stop: each string must have 1 to 100 characters$"):
        Said(tokens, [], stop=["a", stop], strip=False)
    with pytest.raises(UserError, match=r"^--stop a,x*: must have 1 to 100 characters each$"):
        GenerateNLP.resolve(None, {"run": Path("run"), "stop": ["a", stop]})
