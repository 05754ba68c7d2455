"""Encoders that transformers loads: fine-tuned whole, frozen in part, or by LoRA."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import ByteLevelBPETokenizer, processors
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast, RobertaTokenizer

from contract.of_nlp import write_texts
from contract.rows import command, last_checkpoint
from nlp.cards import card_for
from nlp.jobs import COMMON, train
from ptapp_core.jobs import Trained
from ptapp_nlp.card import About
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.data.tokens import learn
from ptapp_nlp.models import bert, build
from ptapp_nlp.models.optimise import depths, optimizer_of
from ptapp_nlp.models.pretrained import merge_lora

pytestmark = pytest.mark.slow


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A small BERT of random weights in a folder, as transformers saves it."""
    tokens = learn("wordpiece", ["cat dog bird word1 word2 word3"] * 3, 400, lower=True).tokenizer
    tokens.add_special_tokens(["[CLS]", "[SEP]"])
    marks = [(name, tokens.token_to_id(name)) for name in ("[SEP]", "[CLS]")]
    tokens.post_processor = processors.BertProcessing(*marks)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(tmp_path / "bert")
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=tokens.get_vocab_size(), **shape)).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_a_frozen_part_of_bert_stays_and_it_reads_no_more_than_its_positions(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_texts(tmp_path / "texts")
    words = ["--model", "bert", "--pretrained", str(encoder), "--data", str(data), "--layer-decay", "0.8"]
    run = train(tmp_path, *words, "--freeze", "encoder.model.embeddings", "--epochs", "1", "--batch-size", "16")
    before, after = (
        load_file(file) for file in (encoder / "model.safetensors", last_checkpoint(run) / "model.safetensors")
    )
    for name, weight in before.items():
        if not name.startswith("pooler."):
            assert torch.equal(after[f"encoder.model.{name}"], weight) == name.startswith("embeddings."), name
    assert command(["nlp", "train", "--run-dir", str(tmp_path / "long"), *COMMON, *words, "--max-length", "600"]) == 2
    assert "reads at most 512 tokens" in capsys.readouterr().err


def test_the_head_learns_alone_and_then_all_from_there(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_texts(tmp_path / "texts")
    words = ["--model", "bert", "--pretrained", str(encoder), "--data", str(data), "--pool", "mean"]
    head = train(tmp_path / "head", *words, "--freeze", "encoder", "--epochs", "1", "--batch-size", "16")
    still = ["--steps", "1", "--lr", "1e-12", "--weight-decay", "0"]
    run = train(tmp_path / "all", *words, *still, "--weights", str(head))
    before, after = (load_file(last_checkpoint(each) / "model.safetensors") for each in (head, run))
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, msg=name)
    assert f"weights: --weights {head}" in capsys.readouterr().out
    other = tmp_path / "other"
    shutil.copytree(encoder, other)
    (other / "tokenizer.json").write_text((encoder / "tokenizer.json").read_text().replace('"cat"', '"cot"'))
    refused = ["nlp", "train", *COMMON, "--run-dir", str(tmp_path / "no"), "--weights", str(head)]
    assert command([*refused, *words[:3], str(other), *words[4:]]) == 2
    assert "reads other tokens; give the --pretrained that it began with" in capsys.readouterr().err
    assert command([*refused, "--data", str(data)]) == 2
    assert "--weights does nothing here: it is for models with --pretrained" in capsys.readouterr().err


def test_lora_learns_its_matrices_alone_resumes_exactly_and_leaves_the_program_merged(
    encoder: Path, tmp_path: Path
) -> None:
    data = write_texts(tmp_path / "texts")
    words = ["--model", "bert", "--pretrained", str(encoder), "--data", str(data), "--lora", "2", "--steps", "20"]
    words += ["--layer-decay", "0.8", "--batch-size", "16", "--eval-every", "2"]
    run = train(tmp_path, *words)
    last = last_checkpoint(run)
    assert last.name == "step-00000020"
    before, after = load_file(encoder / "model.safetensors"), load_file(last / "model.safetensors")
    plain = {name.replace("base_layer.", ""): weight for name, weight in after.items() if "lora_" not in name}
    for name, weight in before.items():
        assert name.startswith("pooler.") or torch.equal(plain[f"encoder.model.{name}"], weight)
    moved = [weight.abs().max() > 0 for name, weight in after.items() if "lora_B" in name]  # zero at first
    assert len(moved) == 12
    assert all(moved)
    whole = {file.name: file.read_bytes() for file in last.iterdir()}
    shutil.rmtree(last)  # as if killed before
    written = (run / "tokenizer.json").stat().st_mtime_ns
    assert command(["nlp", "train", "--resume", str(run)]) == 0
    assert (run / "tokenizer.json").stat().st_mtime_ns == written  # what is not written is never half there
    assert {file.name: file.read_bytes() for file in last.iterdir()} == whole
    trained = Trained.find(run, "nlp", About)
    model, merged = trained.load(build), trained.load(build)
    merge_lora(merged)
    assert not any("lora_" in name for name in merged.state_dict())
    ids = torch.tensor([[5, 6, 7, 8], [9, 6, 0, 0]])
    torch.testing.assert_close(merged(ids), model(ids))
    (encoder / "model.safetensors").unlink()  # the run has its own
    assert command(["nlp", "export", str(run), "--format", "pt2"]) == 0
    names = torch.export.load(run / "export" / "model.pt2").state_dict
    assert names
    assert not any("lora_" in name for name in names)


def test_each_lower_layer_of_bert_learns_at_half_the_rate(encoder: Path) -> None:
    model = build(card_for("classify", "bert", vocab=40, encoder=bert.describe(str(encoder))))
    settings = TrainNLP(model="bert", pretrained=str(encoder), lr=1.0, layer_decay=0.5)
    rates = {id(p): group["lr"] for group in optimizer_of(settings, model).param_groups for p in group["params"]}
    parts = {"embeddings": 0.125, "layer.0": 0.25, "layer.1": 0.5, "head": 1.0}
    for name, parameter in model.named_parameters():
        (expected,) = (rate for part, rate in parts.items() if f".{part}." in f".{name}")
        assert rates[id(parameter)] == expected, name


def test_bert_says_what_transformers_says(encoder: Path) -> None:
    tokens = bert.pretrained_tokens(str(encoder))
    own = {"encoder": bert.describe(str(encoder)), "pretrained": str(encoder), "vocab": tokens.size, "pad": tokens.pad}
    model = build(card_for("classify", "bert", **own), pretrained=True).eval()
    texts = ["cat word1 bird", "dog"]
    rows = tokens.encode(texts, 16)
    assert tokens.encode(["cat [SEP]"], 16)[0].count(rows[0][-1]) == 1  # its own mark, and none of the text's
    ids = torch.tensor([rows[0], rows[1] + [tokens.pad] * (len(rows[0]) - len(rows[1]))])
    theirs = AutoTokenizer.from_pretrained(encoder)(texts, padding=True, return_tensors="pt")
    assert torch.equal(theirs["input_ids"], ids)
    mask = theirs["attention_mask"]
    expected = BertModel.from_pretrained(encoder).eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(model.encoder(ids)[mask == 1], expected[mask == 1], atol=1e-5, rtol=1e-5)
    assert sorted(set(depths(model).values())) == [0, 1, 2, 3]
    card = card_for("classify", "bert", {"lora": 2}, **own)
    adapted = build(card, pretrained=True).eval()
    torch.testing.assert_close(adapted.encoder(ids), model.encoder(ids))  # before anything is learned
    learning = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert all("lora_" in name or name.startswith("head.") for name in learning)
    assert len(learning) == 2 * 2 * 6 + 2  # two matrices for each of the six linear layers of two blocks
    build(card).load_state_dict(adapted.state_dict())


@pytest.mark.parametrize("kind", [RobertaTokenizer, PreTrainedTokenizerFast])
def test_single_words_are_those_of_a_text_to_an_encoder_of_bytes(kind: type, tmp_path: Path) -> None:
    bytes_ = ByteLevelBPETokenizer()
    bytes_.train_from_iterator(["the cat sleeps and the dog sleeps"] * 3, 300, show_progress=False)
    if kind is RobertaTokenizer:
        bytes_.save_model(str(tmp_path))
        fast = RobertaTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    else:
        fast = PreTrainedTokenizerFast(tokenizer_object=bytes_._tokenizer, pad_token="<pad>")
    fast.save_pretrained(tmp_path / "tokens")
    of_words, of_texts = (bert.pretrained_tokens(str(tmp_path / "tokens"), words=words) for words in (True, False))
    assert of_words.encode_words(["dog", "sleeps"], 9)[0] == fast(" dog sleeps").input_ids
    assert of_texts.encode(["dog sleeps"], 9) == [fast("dog sleeps").input_ids]


def test_without_a_network_one_line_says_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ptapp_core.machine.hub.reachable", lambda: False)
    words = ["--model", "bert", "--pretrained", "no/such-model", "--run-dir", str(tmp_path)]
    assert command(["nlp", "train", *COMMON, *words]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "local folder" in error
