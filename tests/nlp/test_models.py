"""Models against torch's, padding that changes nothing, and a task that only a whole translator solves."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from nlp.cards import card_for
from ptapp_core.data.loader import Batch
from ptapp_core.export import READERS, Format, export
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_nlp import pictures
from ptapp_nlp.data.batches import Ragged, Texts
from ptapp_nlp.data.encode import IGNORED
from ptapp_nlp.data.tokens import BOS, EOS, learn
from ptapp_nlp.decode import LanguageSession, TranslatorSession, beam, sample, translations
from ptapp_nlp.models import LanguageModel, Translator, build
from ptapp_nlp.models.losses import VocabularyLoss
from ptapp_nlp.models.recurrent import RecurrentEncoder
from ptapp_nlp.models.tasks import TokenTask, translated

pytestmark = pytest.mark.slow

IDS = torch.tensor([[4, 5, 6, 7, 8, 9], [7, 8, 9, 0, 0, 0], [5, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_recurrent_encoder_equals_torchs_over_packed_sequences(cell: str, bidirectional: bool) -> None:
    torch.manual_seed(0)
    ours = RecurrentEncoder(cell, 12, 8, hidden=6, layers=2, bidirectional=bidirectional).eval()  # type: ignore[arg-type]
    theirs = getattr(nn, cell.upper())(8, 6, 2, batch_first=True, bidirectional=bidirectional)
    for number in range(2):
        for suffix, module in (("", ours.forwards), ("_reverse", ours.backwards))[: 1 + bidirectional]:
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(theirs, f"{name}_l{number}{suffix}").data.copy_(getattr(module[number], f"{name}_l0").data)
    packed = nn.utils.rnn.pack_padded_sequence(ours.embedding(IDS), (IDS != 0).sum(1), batch_first=True)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    real = IDS != 0
    torch.testing.assert_close(ours(IDS)[real], expected[real])


@pytest.mark.parametrize("pool", ["mean", "max", "attention", "last", "first"])
@pytest.mark.parametrize("name", ["lstm", "gru", "transformer"])
@pytest.mark.parametrize("task", ["classify", "tag"])
def test_padding_changes_nothing(task: str, name: str, pool: str) -> None:
    torch.manual_seed(0)
    model = build(card_for(task, name, {"pool": pool})).eval()
    for row, length in zip(IDS, (6, 3, 1), strict=True):
        alone = model(row[None, :length])
        together = model(IDS)[(row == IDS).all(1)]
        torch.testing.assert_close(together[:, :length] if task == "tag" else together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "max", "attention", "last", "first"])
def test_a_text_of_padding_alone_is_finite_and_so_is_its_gradient(pool: str) -> None:
    model = build(card_for("classify", "lstm", {"pool": pool}))
    logits = model(torch.tensor([[4, 5], [0, 0]]))
    logits.sum().backward()
    assert logits.abs().max() < 1e3
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_recurrent_export_takes_lengths_that_the_example_had_not(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(card_for("classify", "gru", {"bidirectional": False, "layers": 1})).eval()
    path, _ = export(
        model, IDS.repeat(3, 1), tmp_path, format="onnx", about={}, free=(("batch", "length"),), recurrent=True
    )
    longer = torch.randint(1, 12, (5, 23))
    (got,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": longer.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), model(longer), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("task", "name", "form"),
    [
        ("classify", "transformer", "torchscript"),
        ("tag", "transformer", "torchscript"),
        ("tag", "lstm", "onnx"),
        ("translate", "transformer", "pt2"),
        ("generate", "transformer", "torchscript"),
        ("generate", "gru", "onnx"),
        ("classify", "bert", "onnx"),
    ],
)
def test_every_kind_of_model_leaves_the_program_with_batch_and_length_free(
    task: str, name: str, form: Format, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    shape = {"vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    encoder = {"model_type": "bert", **shape, "intermediate_size": 16}
    model = build(card_for(task, name, {"layers": 1, "pool": "attention"}, encoder=encoder))
    ids, recurrent = IDS.repeat(3, 1), name in ("lstm", "gru")
    inputs, free, names = (ids,), [("batch", "length")], ["input"]
    if task == "translate":
        inputs, names = (ids, ids[:, :5]), ["source", "target"]
        free = [("batch", f"{each}_length") for each in names]
    most = {"length": 512} if name == "bert" else {}
    _, off = export(
        model, inputs, tmp_path, format=form, about={}, free=free, names=names, most=most, recurrent=recurrent
    )
    assert off < 1e-5


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_a_random_field_leaves_the_program_with_batch_and_length_free(form: Format, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tags = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
    model = build(card_for("tag", "lstm-crf", {"layers": 2}, classes=tags)).eval()
    for parameter in [*model.crf.parameters(), model.head.weight]:
        nn.init.normal_(parameter)
    rows = torch.cat([IDS[:, :, None], torch.randint(1, 8, (*IDS.shape, 25))], 2) * (IDS != 0)[:, :, None]
    rows, free = rows.repeat(3, 1, 1), [("batch", "length")]
    path, off = export(model, rows, tmp_path, format=form, about={}, free=free, recurrent=True)
    assert off < 1e-5
    longer = torch.randint(1, 8, (5, 23, 26))
    got = READERS[form](path)(longer)
    torch.testing.assert_close(got, model(longer), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_over_a_vocabulary_equals_torchs_and_so_does_its_gradient(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(150, 33, requires_grad=True), torch.randint(0, 33, (150,))
    target[::5] = IGNORED
    ours = VocabularyLoss(smoothing)(logits, target)
    theirs = nn.functional.cross_entropy(logits, target, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(3 * loss, logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)
    half = torch.tensor([[0.0, -18.0]], dtype=torch.float16, requires_grad=True)
    (16384 * VocabularyLoss(smoothing)(half, torch.tensor([0]))).backward()
    share = torch.tensor(-18.0).exp() - smoothing / 2  # less than fp16 holds without that scale
    torch.testing.assert_close(half.grad[0, 1].float(), 16384 * share, rtol=1e-2, atol=0)


def test_a_later_token_changes_nothing_before_it() -> None:
    torch.manual_seed(0)
    for name in ("transformer", "lstm"):
        model = build(card_for("generate", name)).eval()
        other = IDS.clone()
        other[0, 4] = 11
        torch.testing.assert_close(model(IDS)[0, :4], model(other)[0, :4])
        assert not torch.allclose(model(IDS)[0, 4], model(other)[0, 4])


@pytest.mark.parametrize("task", ["classify", "translate", "generate"])
def test_the_picture_of_a_long_text_is_of_its_beginning(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[torch.Size, int, int]] = []

    def draw(heads: torch.Tensor, asked: list[str], seen: list[str], out: Path) -> Path:
        drawn.append((heads.shape, len(asked), len(seen)))
        return out

    monkeypatch.setattr(pictures, "_draw", draw)
    tokens, long = learn("word", ["a b c d e"], 400, lower=True), Ragged([[4, 5, 6] * 100], 0)
    names = ("source", "target") if task == "translate" else ("input",)
    model = build(card_for(task, "transformer")).eval()
    runtime = Runtime("cpu", "fp32")
    assert pictures.attention_map(
        model, Texts(dict.fromkeys(names, long)), tokens, runtime=runtime, out=tmp_path / "a.png"
    )
    ((shape, asked, seen),) = drawn
    assert shape[1:] == (asked, seen)
    assert 24 <= max(asked, seen) <= 48


def copies(reverse: bool, generator: torch.Generator) -> Batch:
    """Sources of unequal lengths, and the same (or reversed) as targets."""
    rows = [
        torch.randint(4, 12, (int(n),), generator=generator) for n in torch.randint(1, 6, (32,), generator=generator)
    ]
    mark = torch.tensor
    source = [torch.cat([row, mark([EOS])]) for row in rows]
    target = [torch.cat([mark([BOS]), row.flip(0) if reverse else row, mark([EOS])]) for row in rows]
    pad = nn.utils.rnn.pad_sequence
    units = sum(len(row) + 1 for row in rows)
    return {"source": pad(source, batch_first=True), "target": pad(target, batch_first=True), "units": units}


STEPS = 450


def learn_to_copy(reverse: bool, blind: bool) -> float:
    """The share of right tokens when the translator writes on its own; where `blind`, with no causal mask."""
    torch.manual_seed(0)
    model = Translator(12, 32, 2, hidden=64, layers=1)
    if blind:
        decoder = model.decoder.forward
        model.decoder.forward = lambda *given, **named: decoder(*given, **{**named, "causal": False})  # type: ignore
    task = TokenTask(model, build_loss("cross-entropy"), translated, pad=0)
    optimizer = torch.optim.Adam(task.parameters(), 1e-2)
    # At a constant rate what the last steps leave differs by processor; it settles where the rate falls to zero.
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        loss, count, _ = task(copies(reverse, generator))
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
        falling.step()
    model.eval()
    batch = copies(reverse, generator)
    said = sample(TranslatorSession(model, batch["source"]).advance, torch.full((32, 1), BOS), 8)
    true = [[n for n in row if n > EOS] for row in batch["target"].tolist()]
    return sum(one == other for one, other in zip(said, true, strict=True)) / 32


@pytest.mark.parametrize("reverse", [False, True])
def test_a_translator_learns_to_copy_and_to_reverse(reverse: bool) -> None:
    assert learn_to_copy(reverse, blind=False) > 0.9


def test_it_does_not_where_it_may_look_at_the_answer() -> None:
    assert learn_to_copy(False, blind=True) < 0.3


def test_targets_of_padding_do_not_count() -> None:
    model = Translator(12, 16, 2, hidden=32, layers=1).eval()
    batch = copies(False, torch.Generator().manual_seed(0))
    _, target = translated(model, batch, 0)
    assert int((target != IGNORED).sum()) == int((batch["target"] != 0).sum()) - 32


def sure(seed: int) -> Translator:
    """Random, and sure of something."""
    torch.manual_seed(seed)
    model = Translator(12, 16, 2, hidden=32, layers=2).eval()
    for parameter in model.parameters():
        parameter.data *= 2
    return model


@pytest.fixture(scope="module")
def translator() -> Translator:
    return sure(1)


def search(
    model: Translator, width: int, penalty: float = 1.0, cached: bool = True
) -> tuple[list[list[int]], list[float]]:
    session = TranslatorSession(model, IDS, cached=cached)
    return beam(session, torch.full((3, 1), BOS), np.array([9, 9, 9]), width=width, penalty=penalty)


@torch.no_grad()
def log_probability(model: Translator, source: torch.Tensor, said: list[int], limit: int = 9) -> float:
    target = torch.tensor([[BOS, *said, EOS][: limit + 1]])
    logs = model(source[None], target[:, :-1]).log_softmax(2)
    return float(logs.gather(2, target[:, 1:, None]).sum())


def test_a_beam_of_one_is_greedy_and_no_cache_gives_the_same(translator: Translator) -> None:
    greedy = sample(TranslatorSession(translator, IDS).advance, torch.full((3, 1), BOS), 9)
    assert search(translator, 1)[0] == greedy
    assert search(translator, 4)[0] == search(translator, 4, cached=False)[0]
    uncached = TranslatorSession(translator, IDS, cached=False).advance
    assert sample(uncached, torch.full((3, 1), BOS), 9) == greedy


def test_a_beams_score_is_that_of_its_answer_and_not_below_greedy(translator: Translator) -> None:
    greedy, _ = search(translator, 1, 0.0)
    wide, scores = search(translator, 6, 0.0)
    for row in range(3):
        assert scores[row] == pytest.approx(log_probability(translator, IDS[row], wide[row]), abs=1e-4)
        assert scores[row] >= log_probability(translator, IDS[row], greedy[row]) - 1e-4


@pytest.mark.parametrize(("seed", "width"), [(0, 3), (2, 1), (19, 3), (35, 3)])
@pytest.mark.parametrize("penalty", [0.6, 1.0])
def test_a_beam_does_not_depend_on_its_neighbours(seed: int, width: int, penalty: float) -> None:
    model, generator = sure(seed), torch.Generator().manual_seed(seed)
    source = torch.randint(4, 12, (8, 6), generator=generator)
    limit = torch.randint(3, 25, (8,), generator=generator).numpy()
    source[4:, 3:] = 0
    together = beam(TranslatorSession(model, source), torch.full((8, 1), BOS), limit, width=width, penalty=penalty)
    for row in range(8):
        session = TranslatorSession(model, source[row : row + 1, : 6 if row < 4 else 3])
        alone = beam(session, torch.full((1, 1), BOS), limit[row : row + 1], width=width, penalty=penalty)
        assert (alone[0][0], pytest.approx(alone[1][0], abs=1e-4)) == (together[0][row], together[1][row])


@pytest.fixture(scope="module")
def writer() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(12, 16, 2, hidden=32, layers=2).eval()


def test_sampling_follows_its_seed_and_its_limits(writer: LanguageModel) -> None:
    first = torch.full((64, 1), BOS)

    def draw(**options: object) -> list[list[int]]:
        return sample(LanguageSession(writer, 64).advance, first, 6, temperature=1.0, **options)  # type: ignore[arg-type]

    assert draw(seed=1) == draw(seed=1) != draw(seed=2)
    greedy = sample(LanguageSession(writer, 64).advance, first, 6)
    assert draw(top_k=1) == draw(top_p=1e-6) == greedy
    assert draw(top_k=12, top_p=1.0) == draw()
    assert draw()[:5] == sample(LanguageSession(writer, 64).advance, first[:5], 6, temperature=1.0)


def test_sampling_draws_in_proportion() -> None:
    shares = torch.tensor([1e-20, 1e-20, 1e-20, 1e-20, 0.5, 0.3, 0.2])  # logits are finite
    drawn = sample(lambda tokens: shares.log().expand(len(tokens), -1), torch.zeros(4000, 1).long(), 1, temperature=1.0)
    counts = torch.tensor(drawn).flatten().bincount(minlength=7) / 4000
    torch.testing.assert_close(counts, shares, atol=0.03, rtol=0)


@pytest.mark.parametrize("cached", [True, False])
def test_prompts_padded_on_the_left_are_continued_as_alone(writer: LanguageModel, cached: bool) -> None:
    prompts = [[BOS, 5, 6, 7, 8], [BOS, 9], [BOS]]
    first = torch.tensor([[0] * (5 - len(row)) + row for row in prompts])
    together = sample(LanguageSession(writer, 64, cached=cached).advance, first, 8)
    alone = [sample(LanguageSession(writer, 64).advance, torch.tensor([row]), 8)[0] for row in prompts]
    assert together == alone


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("lengths", [(1,), (3, 1), (6, 2), (9, 4)])
def test_each_token_is_predicted_from_the_last_ones_at_positions_that_were_learned(
    writer: LanguageModel, lengths: tuple[int, ...], cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, longest, generator = 6, max(lengths), torch.Generator().manual_seed(0)
    rows = [torch.randint(4, 12, (length + 14,), generator=generator) for length in lengths]
    past = torch.stack([torch.cat([torch.zeros(longest + 14 - len(row)).long(), row]) for row in rows])
    places: list[int] = []
    embed = writer.embedding.forward
    monkeypatch.setattr(writer.embedding, "forward", lambda ids, at: (places.append(int(at.max())), embed(ids, at))[1])
    session = LanguageSession(writer, window, cached=cached)
    found = [session.advance(past[:, :longest])]
    found += [session.advance(past[:, at : at + 1]) for at in range(longest, past.shape[1])]
    assert max(places) == window - 1
    monkeypatch.undo()
    for step, logits in enumerate(found):
        for row, own in zip(rows, logits, strict=True):
            seen = row[: len(row) - 14 + step][-window:]
            torch.testing.assert_close(own, writer(seen[None])[0, -1], atol=1e-5, rtol=1e-5)


def test_a_translation_stays_within_the_positions_that_were_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, model = learn("word", ["a b c d e f g h"] * 3, 300, lower=True), sure(1)
    limits: list[int] = []
    monkeypatch.setattr(
        "ptapp_nlp.decode.beam", lambda session, first, most, **_: (limits.append(int(most.max())), ([[]], [0.0]))[1]
    )
    translations(model, ["a b c d e f g h"], tokens, runtime=Runtime("cpu", "fp32"), limit=9)
    assert limits == [8]  # a target of 9 with both marks has 8 positions to learn from
