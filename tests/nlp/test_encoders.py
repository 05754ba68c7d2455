"""Which models of transformers `--model bert` takes, and how long a text they read: many families, random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from contract.of_nlp import write_texts
from contract.rows import command, only_run
from ptapp_core.errors import UserError
from ptapp_core.runs.run import read_json
from ptapp_nlp.data.tokens import learn
from ptapp_nlp.models import bert

POSITIONS = 24
SIZES = {
    **dict.fromkeys(("hidden_size", "intermediate_size", "embedding_size", "dim", "hidden_dim", "emb_dim"), 16),
    **dict.fromkeys(("num_hidden_layers", "num_attention_heads", "n_heads", "num_key_value_heads"), 2),
    **dict.fromkeys(("d_model", "d_ff", "d_inner", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim"), 16),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("num_heads", "num_decoder_layers"), 2),
    **{
        "head_dim": 8,
        "d_kv": 8,
        "d_head": 8,
        "vocab_size": 64,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": 0,
    },
    **{"word_embed_proj_dim": 16, "local_attention": 8, "attention_window": 8, "entity_vocab_size": 4},
}
# How many tokens each reads: RoBERTa and its like count positions from the number after that of padding.
ENCODERS: dict[str, int | None] = {
    **dict.fromkeys(("albert", "bert", "deberta", "distilbert", "electra", "ernie", "megatron-bert"), POSITIONS),
    **dict.fromkeys(("rembert", "roformer", "squeezebert", "flaubert"), POSITIONS),
    **dict.fromkeys(("modernbert", "eurobert", "nomic_bert"), POSITIONS),  # rotary: those that were learned
    **dict.fromkeys(
        ("roberta", "camembert", "xlm-roberta", "mpnet", "longformer", "data2vec-text", "ibert"), POSITIONS - 2
    ),
    "deberta-v2": None,  # relative alone, as all published ones
    "xlnet": None,
}
DECODERS = (
    "gpt2",
    "gpt_neox",
    "llama",
    "mistral",
    "qwen2",
    "opt",
    "bloom",
    "falcon",
    "gemma3_text",
    "modernbert-decoder",
)
_FIXED = {"xlnet": ("max_position_embeddings",), "falcon": ("head_dim",)}  # attributes that cannot be set
BOTH = ("t5", "bart", "mbart")


def config_of(kind: str, **changes: Any) -> Any:
    """A small configuration of a family; RoBERTa's padding is 1, that of the others 0."""
    own = AutoConfig.for_model(kind)
    fixed = _FIXED.get(kind, ())
    sizes = {name: size for name, size in SIZES.items() if hasattr(own, name) and name not in fixed}
    if ENCODERS.get(kind) == POSITIONS - 2:
        sizes["pad_token_id"] = 1
    if kind == "deberta-v2":
        sizes |= {"relative_attention": True, "position_biased_input": False}
    return AutoConfig.for_model(kind, **{**sizes, **changes})


def save(config: Any, folder: Path, pad: str = "[PAD]") -> Path:
    """The folder of a model, as transformers saves it with its tokenizer."""
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokens = learn("wordpiece", ["cat dog bird word1 word2 word3"] * 3, 60, lower=True).tokenizer
    tokens.add_special_tokens(["[CLS]", "[SEP]"])
    marks = [(name, tokens.token_to_id(name)) for name in ("[SEP]", "[CLS]")]
    tokens.post_processor = processors.BertProcessing(*marks)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokens, unk_token="[UNK]", **({"pad_token": pad} if pad else {}))
    fast.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ENCODERS)
def test_every_encoder_reads_texts_up_to_its_last_position(kind: str, tmp_path: Path) -> None:
    folder = save(config_of(kind), tmp_path / kind)
    config = bert.describe(str(folder))
    pad = config_of(kind).pad_token_id
    most = bert.most_tokens(config, pad)
    assert most == ENCODERS[kind]
    model = bert.PretrainedEncoder(config, str(folder), pad).eval()
    ids = torch.randint(5, 40, (1, most or 3 * POSITIONS), generator=torch.Generator().manual_seed(0))
    states = model(ids)
    assert states.shape == (1, ids.shape[1], model.dim)
    assert states.isfinite().all()


@pytest.mark.parametrize("kind", ENCODERS)
def test_states_are_those_of_transformers_and_no_text_depends_on_the_others(kind: str, tmp_path: Path) -> None:
    folder = save(config_of(kind), tmp_path / kind)
    pad = config_of(kind).pad_token_id
    model = bert.PretrainedEncoder(bert.describe(str(folder)), str(folder), pad).eval()
    theirs = AutoModel.from_pretrained(folder).eval()
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, 40, (length,), generator=draw) for length in (1, 3, 8, 17)]
    with torch.no_grad():
        alone = [model(row[None])[0] for row in rows]
        for own, row in zip(alone, rows, strict=True):
            expected = theirs(input_ids=row[None], attention_mask=torch.ones(1, len(row))).last_hidden_state
            torch.testing.assert_close(own, expected[0], atol=1e-6, rtol=1e-5)
        for length in (17, 18, 22):
            ids = torch.stack([functional.pad(row, (0, length - len(row)), value=pad) for row in rows])
            for own, found in zip(alone, model(ids), strict=True):
                torch.testing.assert_close(found[: len(own)], own, atol=1e-6, rtol=1e-5)


def test_a_unigram_tokenizer_reads_a_text_as_transformers_does(tmp_path: Path) -> None:
    own, names = Tokenizer(models.Unigram()), ["<s>", "<pad>", "</s>", "<unk>"]
    own.pre_tokenizer, texts = pre_tokenizers.Metaspace(), ["the cat sleeps", "a dog", "zwölf 象"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=names, unk_token="<unk>", show_progress=False)
    own.train_from_iterator(["the cat sleeps and a dog sleeps"] * 5, trainer)
    marks = [("<s>", 0), ("</s>", 2)]
    own.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=marks)
    fast = PreTrainedTokenizerFast(tokenizer_object=own, pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(tmp_path)
    config_of("xlm-roberta").save_pretrained(tmp_path)
    tokens = bert.pretrained_tokens(str(tmp_path))
    assert tokens.encode(texts, 99) == [fast(text).input_ids for text in texts]
    assert (tokens.pad, tokens.unk) == (1, 3)


@pytest.mark.parametrize("kind", [*DECODERS, *BOTH])
def test_what_is_no_encoder_is_refused_by_its_name(kind: str, tmp_path: Path) -> None:
    config_of(kind).save_pretrained(tmp_path / kind)  # seen before the weights are looked for
    with pytest.raises(UserError, match=rf"{kind}: .*{'encoder-decoder' if kind in BOTH else 'a decoder'} \({kind}\)"):
        bert.describe(str(tmp_path / kind))


def test_a_model_that_is_no_encoder_in_spite_of_its_name_is_refused_too(tmp_path: Path) -> None:
    causal = save(config_of("bert", is_decoder=True), tmp_path / "causal")
    with pytest.raises(UserError, match=r"a decoder \(bert\)"):
        bert.describe(str(causal))
    with pytest.raises(UserError, match="first token does not see the last"):
        bert.PretrainedEncoder(config_of("bert", is_decoder=True).to_dict(), str(causal), 0)
    config_of("bert", architectures=["BertLMHeadModel"]).save_pretrained(tmp_path / "learned")
    with pytest.raises(UserError, match=r"a decoder \(bert\)"):
        bert.describe(str(tmp_path / "learned"))
    mixed = save(config_of("fnet"), tmp_path / "fnet")  # its Fourier transform mixes padding in
    with pytest.raises(UserError, match="fnet whose answers change with the padding"):
        bert.PretrainedEncoder(bert.describe(str(mixed)), str(mixed), 0)


def test_a_tokenizer_without_padding_of_its_own_is_refused(tmp_path: Path) -> None:
    for pad, reason in (("", "has no padding token"), ("[SEP]", r"pads with '\[SEP\]', which each text has too")):
        with pytest.raises(UserError, match=reason):
            bert.pretrained_tokens(str(save(config_of("bert"), tmp_path / f"pad{pad}", pad)))
    other = bert.pretrained_tokens(str(save(config_of("bert"), tmp_path / "other", "word1")))
    assert other.pad == other.tokenizer.token_to_id("word1") == type(other).read(other.json()).pad != 0


def test_a_tokenizer_that_fills_each_text_up_is_taken_without_that(tmp_path: Path) -> None:
    plain, filling = save(config_of("bert"), tmp_path / "plain"), save(config_of("bert"), tmp_path / "filling")
    own = Tokenizer.from_file(str(filling / "tokenizer.json"))
    own.enable_padding(length=12, pad_id=own.token_to_id("[PAD]"), pad_token="[PAD]")
    own.enable_truncation(12)
    own.save(str(filling / "tokenizer.json"))
    assert AutoTokenizer.from_pretrained(filling).backend_tokenizer.padding["length"] == 12
    texts = ["cat", "dog " * 20]
    expected = bert.pretrained_tokens(str(plain)).encode(texts, 99)
    assert bert.pretrained_tokens(str(filling)).encode(texts, 99) == expected


def test_an_encoder_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = save(config_of("bert"), tmp_path / "bert")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError, match=r"bert: has no tokenizer; put the model's own tokenizer.json beside"):
        bert.pretrained_tokens(str(folder))
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat"]))
    assert bert.pretrained_tokens(str(folder)).size == 6
    for path in (f"{tmp_path}/nowhere", "./nowhere", "../up/nowhere", "~/nowhere", "up/and/nowhere"):
        with pytest.raises(UserError, match=rf"--pretrained {path}: no such folder"):
            bert.describe(path)


def test_the_default_length_is_what_the_encoder_reads_and_a_longer_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, data = save(config_of("bert"), tmp_path / "bert"), write_texts(tmp_path / "texts")
    words = ["nlp", "train", "--model", "bert", "--pretrained", str(folder), "--data", str(data), "--steps", "1"]
    words += ["--run-dir", str(tmp_path / "runs"), "--device", "cpu", "--threads", "1", "--log-to", "none"]
    assert command(words) == 0
    assert read_json(only_run(tmp_path) / "meta.json")["model"]["max_length"] == POSITIONS
    capsys.readouterr()
    assert command([*words, "--max-length", str(POSITIONS + 1)]) == 2
    assert f"reads at most {POSITIONS} tokens" in capsys.readouterr().err
