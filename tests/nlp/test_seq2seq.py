"""Pretrained encoder-decoders: their loss, tokens, and what they write, as transformers has it."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, NllbTokenizer

import ptapp
from contract.rows import command, last_checkpoint
from nlp.encoder_decoders import POSITIONS, SOURCES, TARGETS, save
from nlp.jobs import COMMON, resumes, train
from nlp.test_encoders import config_of
from ptapp_core.errors import UserError
from ptapp_core.runs.run import read_json
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.data.encode import encode
from ptapp_nlp.data.splits import Examples
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.decode import TranslatorSession, beam
from ptapp_nlp.models import seq2seq
from ptapp_nlp.models.losses import VocabularyLoss
from ptapp_nlp.models.tasks import OUTPUTS, TokenTask
from ptapp_nlp.search import most_tokens
from ptapp_nlp.serving import Front

pytestmark = pytest.mark.slow
FAMILIES = ("t5", "bart", "marian")


def write_pairs(folder: Path) -> Path:
    folder.mkdir()
    with (folder / "pairs.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["en", "fr"])
        rows.writerows(
            (f"{source} {number}", f"{target} {number}")
            for number in range(15)
            for source, target in zip(SOURCES, TARGETS, strict=True)
        )
    return folder / "pairs.csv"


def loaded(kind: str, folder: Path) -> tuple[seq2seq.Seq2Seq, Tokens, Any]:
    """Ours, its tokens, and transformers' own of one folder."""
    source = str(save(kind, folder))
    tokens = seq2seq.seq2seq_tokens(source)
    model = seq2seq.Seq2Seq(seq2seq.describe(source), source, tokens.pad).eval()
    return model, tokens, AutoModelForSeq2SeqLM.from_pretrained(source).eval()


def padded(rows: list[list[int]], pad: int, more: int = 0) -> torch.Tensor:
    longest = max(map(len, rows)) + more
    return torch.tensor([row + [pad] * (longest - len(row)) for row in rows])


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_loss_and_its_gradients_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    model, tokens, theirs = loaded(kind, tmp_path / kind)
    fast = AutoTokenizer.from_pretrained(tmp_path / kind)
    texts, _ = encode("translate", Examples(SOURCES, TARGETS, ["1", "2", "3", "4"]), tokens, limit=POSITIONS)
    batch = texts.gather(torch.arange(4))
    both = fast(SOURCES, text_target=TARGETS, padding=True, return_tensors="pt")
    assert torch.equal(batch["source"], both.input_ids)
    labels = both.labels.masked_fill(both.labels == tokens.pad, -100)
    expected = theirs(input_ids=both.input_ids, attention_mask=both.attention_mask, labels=labels).loss
    total, units, _ = TokenTask(model, VocabularyLoss(), OUTPUTS["translate"], pad=tokens.pad)(batch)
    assert units == int((labels != -100).sum())
    torch.testing.assert_close(total / units, expected)
    (total / units).backward()
    expected.backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    own = {name.removeprefix("model."): p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert len(own) == sum(gradient is not None for gradient in gradients.values())
    for name, gradient in own.items():
        torch.testing.assert_close(gradient, gradients[name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("kind", FAMILIES)
def test_what_it_writes_is_what_transformers_generates_token_by_token(kind: str, width: int, tmp_path: Path) -> None:
    model, tokens, theirs = loaded(kind, tmp_path / kind)
    lengths = set()
    for penalty in (1.0,) if width == 1 else (0.0, 0.6, 1.0, 2.0):
        rows = tokens.encode(SOURCES, POSITIONS, eos=True)
        most = most_tokens(list(map(len, rows)), POSITIONS)
        with torch.no_grad():
            session = TranslatorSession(model, padded(rows, tokens.pad))
            first = torch.tensor([[tokens.start, *tokens.prefix]] * len(rows))
            options: dict[str, Any] = {"width": width, "penalty": penalty, "end": tokens.end, "never": [tokens.pad]}
            said, _ = beam(session, first, most, **options)
        for row, own, limit in zip(rows, said, most.tolist(), strict=True):
            generated = theirs.generate(
                torch.tensor([row]),
                num_beams=width,
                length_penalty=penalty,
                max_new_tokens=limit,
                do_sample=False,
                early_stopping=False,
                bad_words_ids=[[tokens.pad]],
                forced_bos_token_id=tokens.prefix[0] if tokens.prefix else None,
            )[0, 1:].tolist()
            ended = tokens.end in generated
            assert own == (generated[: generated.index(tokens.end)] if ended else generated)
            lengths.add((ended, len(own)))
    assert len(lengths) > 1


@pytest.mark.parametrize("kind", FAMILIES)
def test_no_answer_depends_on_padding_the_texts_beside_it_or_what_is_kept(kind: str, tmp_path: Path) -> None:
    model, tokens, _ = loaded(kind, tmp_path / kind)
    sources, targets = tokens.encode(SOURCES, 30, eos=True), tokens.encode(TARGETS, 30, bos=True, eos=True)
    for more in (0, 1, 9):
        with torch.no_grad():
            together = model(padded(sources, tokens.pad, more), padded(targets, tokens.pad, more))
            for place, (source, target) in enumerate(zip(sources, targets, strict=True)):
                alone = model(torch.tensor([source]), torch.tensor([target]))[0]
                torch.testing.assert_close(together[place, : len(target)], alone, atol=1e-5, rtol=1e-5)
                session = TranslatorSession(model, torch.tensor([source]))
                kept = torch.stack([session.advance(torch.tensor([[number]]))[0] for number in target])
                torch.testing.assert_close(kept, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_run_is_built_without_its_folder_and_stores_each_weight_once(kind: str, tmp_path: Path) -> None:
    model, tokens, theirs = loaded(kind, tmp_path / kind)
    described = seq2seq.describe(str(tmp_path / kind))
    assert seq2seq.most_tokens(described, tokens.pad) == (None if kind == "t5" else POSITIONS)
    again = seq2seq.Seq2Seq(described, None, tokens.pad).eval()
    state = model.state_dict()
    again.load_state_dict(state)
    source, target = torch.tensor([[4, 5, 6, tokens.end]]), torch.tensor([[tokens.start, 7, 8]])
    with torch.no_grad():
        expected = theirs(input_ids=source, decoder_input_ids=target).logits
        torch.testing.assert_close(again(source, target), expected)
    assert len({value.data_ptr() for value in state.values()}) == len(state)


def test_a_t5_that_does_not_scale_its_outputs_stays_so(tmp_path: Path) -> None:
    folder = str(save("t5", tmp_path / "t5", tie_word_embeddings=False, feed_forward_proj="gated-gelu"))
    config = seq2seq.describe(folder)
    model, again = seq2seq.Seq2Seq(config, folder, 0), seq2seq.Seq2Seq(config, None, 0)
    assert model.model.config.scale_decoder_outputs is again.model.config.scale_decoder_outputs is False


@pytest.mark.parametrize("more", ["", "--lora 2"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_it_learns_to_translate_resumes_exactly_and_says_what_its_weights_say(
    kind: str, more: str, tmp_path: Path
) -> None:
    data, folder = write_pairs(tmp_path / "data"), save(kind, tmp_path / kind)
    words = ["--task", "translate", "--pretrained", str(folder), "--data", str(data), "--steps", "9", *more.split()]
    run = train(tmp_path, *words, "--max-length", "40", "--eval-every", "0.5", "--lr", "1e-2")
    assert len(list((run / "checkpoints").glob("step-*"))) > 1
    assert read_json(run / "meta.json")["model"]["name"] == "seq2seq"
    resumes(run)
    weights = load_file(last_checkpoint(run) / "model.safetensors")
    assert any("lora_" in name for name in weights) == bool(more)
    theirs = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    (folder / "model.safetensors").unlink()  # the run has its own
    model = ptapp.load(run)
    both, (alone,) = model.predict(["a bird", SOURCES[2], "  "], beam=3), model.predict(["a bird"], beam=3)
    assert both[0] == alone
    assert both[2] == {"translation": ""}
    assert (run / "report" / "translations.txt").is_file()
    if more:
        return
    best = load_file(run / "checkpoints" / "best" / "model.safetensors")
    theirs.load_state_dict({name.removeprefix("model."): weight for name, weight in best.items()}, strict=False)
    tokens = model.front.tokens
    (row,) = tokens.encode(["a bird"], 40, eos=True)
    options = {"bad_words_ids": [[tokens.pad]], "forced_bos_token_id": tokens.prefix[0] if tokens.prefix else None}
    said = theirs.generate(torch.tensor([row]), num_beams=3, max_new_tokens=2 * len(row) + 10, **options)
    assert [alone["translation"]] == tokens.decode(said.tolist())


def test_a_run_begins_with_the_weights_of_another(tmp_path: Path) -> None:
    data, folder = write_pairs(tmp_path / "data"), save("t5", tmp_path / "t5")
    words = ["--task", "translate", "--pretrained", str(folder), "--data", str(data), "--steps"]
    first = train(tmp_path / "first", *words, "2", "--lr", "1e-2")
    then = train(tmp_path / "then", *words, "1", "--lr", "1e-12", "--weight-decay", "0", "--weights", str(first))
    before, after = (load_file(last_checkpoint(run) / "model.safetensors") for run in (first, then))
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, msg=name)


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_export_says_what_the_run_does(kind: str, tmp_path: Path) -> None:
    import onnxruntime

    data, folder = write_pairs(tmp_path / "data"), save(kind, tmp_path / kind)
    words = ["--task", "translate", "--pretrained", str(folder), "--data", str(data), "--steps", "4", "--lora", "2"]
    run = train(tmp_path, *words, "--max-length", "40", "--lr", "1e-2")
    for form in ("pt2", "onnx", "torchscript"):
        assert command(["nlp", "export", str(run), "--format", form]) == 0
    session = onnxruntime.InferenceSession(run / "export" / "model.onnx")
    front = Front(read_json(run / "export" / "model.onnx.json"), run / "export")
    answers = front.answers(lambda arrays: session.run(None, dict(arrays))[0], SOURCES, beam=2)
    assert answers == ptapp.load(run).predict(SOURCES, beam=2)
    assert any(answer["translation"] for answer in answers)


def test_what_is_no_encoder_decoder_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("gpt2", "bert"):
        config_of(kind).save_pretrained(tmp_path / kind)
        with pytest.raises(UserError, match=f"a {kind}; --model seq2seq needs an encoder-decoder, such as t5"):
            seq2seq.describe(str(tmp_path / kind))
    folder = save("t5", tmp_path / "t5")
    for name, number in (("pad_token_id", 5), ("eos_token_id", 7)):
        other = str(save("t5", tmp_path / name, **{name: number}))
        with pytest.raises(UserError, match=rf"{name} is . in its tokenizer and {number} in config\.json"):
            seq2seq.seq2seq_tokens(other)
    endless = str(save("t5", tmp_path / "endless", decoder_start_token_id=None))
    with pytest.raises(UserError, match=r"config\.json has no decoder_start_token_id"):
        seq2seq.seq2seq_tokens(endless)
    small = str(save("t5", tmp_path / "small", vocab_size=20))
    with pytest.raises(UserError, match="its tokenizer has a token 42, and the weights end at 19"):
        seq2seq.seq2seq_tokens(small)
    languages = save("t5", tmp_path / "languages")
    NllbTokenizer(vocab={"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}, merges=[]).save_pretrained(languages)
    with pytest.raises(UserError, match="its tokenizer marks languages, which are not known here"):
        seq2seq.seq2seq_tokens(str(languages))
    words = ["nlp", "train", *COMMON, "--run-dir", str(tmp_path), "--task", "translate", "--model", "seq2seq"]
    for more, reason in (
        (["--pretrained", str(tmp_path / "bert")], "a bert; --model seq2seq needs an encoder-decoder"),
        ([], "--model seq2seq needs --pretrained: a folder with an encoder-decoder"),
        (["--pretrained", "x", "--dropout", "0.3"], "--dropout does nothing here"),
        (["--pretrained", "x", "--dim", "32"], "--dim does nothing here"),
        (["--pretrained", "x", "--tokenizer", "bpe"], "--tokenizer does nothing here"),
        (["--pretrained", "x", "--task", "classify"], "--model seq2seq cannot classify"),
        (["--pretrained", "x", "--task", "generate"], "--model seq2seq cannot generate"),
        (["--pretrained", str(save("bart", tmp_path / "bart")), "--max-length", "99"], "reads at most 48 tokens"),
    ):
        assert command([*words, *more]) == 2
        assert reason in capsys.readouterr().err
    assert TrainNLP(task="translate", pretrained=str(folder)).model == "seq2seq"
    assert TrainNLP(task="translate").model == "transformer"
