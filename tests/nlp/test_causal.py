"""Pretrained decoders: their logits, padding, tokenizers, and what they write, as transformers has it."""

from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, processors, trainers
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import ptapp
from contract.of_nlp import write_texts
from contract.rows import command, last_checkpoint
from nlp.decoders import POSITIONS, TEXTS, save, tokens_of_bytes
from nlp.jobs import COMMON, resumes, train
from nlp.test_encoders import config_of
from nlp.test_encoders import save as save_encoder
from ptapp_core.errors import UserError
from ptapp_core.runs.run import read_json
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.data.encode import IGNORED, encode
from ptapp_nlp.data.splits import Examples
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.models import causal
from ptapp_nlp.models.optimise import optimizer_of
from ptapp_nlp.models.tasks import generated
from ptapp_nlp.serving import Front

pytestmark = pytest.mark.slow
FAMILIES = ("gpt2", "llama", "qwen2", "qwen3", "mistral", "gpt_neox", "opt", "bloom", "openai-gpt", "rwkv", "mamba")


def write_lines(folder: Path) -> Path:
    folder.mkdir()
    (folder / "lines.txt").write_text("".join(f"{text}, {number}\n" for number in range(15) for text in TEXTS))
    return folder / "lines.txt"


@pytest.mark.parametrize("kind", FAMILIES)
def test_its_logits_and_what_it_writes_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = str(save(kind, tmp_path / kind))
    config, tokens = causal.describe(folder), causal.causal_tokens(folder, writes=False)
    model = causal.CausalLanguageModel(config, folder, tokens.pad, vocab=tokens.size).eval()
    theirs, fast = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    assert causal.most_tokens(config) == (None if kind in ("bloom", "rwkv", "mamba") else POSITIONS)
    assert model.caches is (kind not in ("openai-gpt", "rwkv", "mamba"))  # whose memory is none, or has another form
    for text in TEXTS:
        (row,) = tokens.encode([text], POSITIONS)
        assert row == fast(text).input_ids
        ids = torch.tensor([row])
        with torch.no_grad():
            torch.testing.assert_close(model(ids), theirs(ids).logits)
            session, step, said = causal.CausalSession(model, POSITIONS), ids, []
            for _ in range(12):
                step = session.advance(step).argmax(1, keepdim=True)
                said.append(int(step))
        expected = theirs.generate(ids, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
        assert said == expected[0, len(row) :].tolist()


@pytest.mark.parametrize("kind", FAMILIES)
def test_no_answer_depends_on_padding_or_the_texts_beside_it(kind: str, tmp_path: Path) -> None:
    folder = str(save(kind, tmp_path / kind))
    config, tokens = causal.describe(folder), causal.causal_tokens(folder, writes=False)
    encoder = causal.CausalEncoder(config, folder, tokens.pad).eval()
    language = causal.CausalLanguageModel(config, folder, tokens.pad, vocab=tokens.size).eval()
    rows = tokens.encode(TEXTS, 20)
    assert all(tokens.pad not in row for row in rows)
    for model in (encoder, language):
        with torch.no_grad():
            for more in (0, 1, 9):
                longest = max(map(len, rows)) + more
                together = model(torch.tensor([row + [tokens.pad] * (longest - len(row)) for row in rows]))
                for place, row in enumerate(rows):
                    alone = model(torch.tensor([row]))[0]
                    torch.testing.assert_close(together[place, : len(row)], alone, atol=1e-6, rtol=1e-5)


def test_a_window_that_moves_forgets_what_is_before_it(tmp_path: Path) -> None:
    folder = str(save("gpt2", tmp_path / "gpt2"))
    model = causal.CausalLanguageModel(causal.describe(folder), folder, 300, vocab=300).eval()
    ids = torch.randint(0, 300, (2, 14), generator=torch.Generator().manual_seed(0))
    session = causal.CausalSession(model, 6)
    with torch.no_grad():
        for end in range(1, 15):
            found = session.advance(ids[:, end - 1 : end])
            torch.testing.assert_close(found, model(ids[:, max(end - 6, 0) : end])[:, -1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "sizes"), [("gptj", {"rotary_dim": 4}), ("openai-gpt", {}), ("ctrl", {"dff": 24})])
def test_a_decoder_reads_as_many_tokens_as_its_table_of_positions_has(
    kind: str, sizes: dict[str, int], tmp_path: Path
) -> None:
    folder = str(save(kind, tmp_path / kind, **sizes))
    config = causal.describe(folder)
    assert causal.most_tokens(config) == POSITIONS
    model = causal.CausalEncoder(config, folder, 300).eval()
    with torch.no_grad():
        assert model(torch.ones(1, POSITIONS, dtype=torch.int64)).isfinite().all()
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.ones(1, POSITIONS + 1, dtype=torch.int64))


def test_the_width_of_a_decoder_is_that_of_its_states(tmp_path: Path) -> None:
    folder = str(save("opt", tmp_path / "opt", word_embed_proj_dim=8))
    for source in (folder, None):
        model = causal.CausalEncoder(causal.describe(folder), source, 300)
        assert model.dim == model(torch.tensor([[1, 2, 3]])).shape[2] == 8


def test_a_decoder_that_cannot_keep_its_memory_here_writes_as_without_one(tmp_path: Path) -> None:
    sizes = {"lru_width": 16, "attention_window_size": 16}
    folder = str(save("recurrent_gemma", tmp_path / "griffin", **sizes))
    model = causal.CausalLanguageModel(causal.describe(folder), folder, 300, vocab=300).eval()
    assert not model.caches
    session = causal.CausalSession(model, POSITIONS)
    ids = torch.tensor([[5, 9, 17, 30, 4, 8]])
    with torch.no_grad():
        for end in range(2, 7):
            found = session.advance(ids[:, :2] if end == 2 else ids[:, end - 1 : end])
            torch.testing.assert_close(found, model(ids[:, :end])[:, -1])


@pytest.mark.parametrize("more", ["", "--lora 2"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_decoder_learns_to_classify_resumes_exactly_and_exports(kind: str, more: str, tmp_path: Path) -> None:
    data, folder = write_texts(tmp_path / "texts"), save(kind, tmp_path / kind)
    words = ["--model", "causal", "--pretrained", str(folder), "--data", str(data), "--steps", "9", *more.split()]
    run = train(tmp_path, *words, "--eval-every", "0.5", "--batch-size", "16")
    resumes(run)
    assert any("lora_" in name for name in load_file(last_checkpoint(run) / "model.safetensors")) == bool(more)
    (folder / "model.safetensors").unlink()  # the run has its own
    assert command(["nlp", "export", str(run), "--format", "onnx"]) == 0
    model = ptapp.load(run)
    (alone,), both = model.predict(["word1 cat"]), model.predict(["word1 cat", "dog " * 30])
    assert alone["probabilities"] == pytest.approx(both[0]["probabilities"], abs=2e-6)  # of 6 digits


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("per", ["line", "file"])
def test_a_decoder_learns_to_write_resumes_exactly_and_continues_as_its_weights_do(
    kind: str, per: str, tmp_path: Path
) -> None:
    data, folder = write_lines(tmp_path / "data"), save(kind, tmp_path / kind)
    words = ["--task", "generate", "--model", "causal", "--pretrained", str(folder), "--data", str(data)]
    words += ["--text-per", per, "--max-length", "16", "--steps", "9", "--eval-every", "0.5", "--lr", "1e-2"]
    run = train(tmp_path, *words)
    resumes(run)
    meta = read_json(run / "meta.json")["model"]
    model = ptapp.load(run)
    begin, end = meta["marks"]
    (text,) = model.generate("the cat", temperature=0, length=8)
    assert text.startswith("the cat")
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    theirs.load_state_dict(
        {name.removeprefix("model."): w for name, w in load_file(run / "checkpoints/best/model.safetensors").items()},
        strict=False,
    )
    own = model.front.tokens
    (row,) = own.encode(["the cat"], 16)
    ids = torch.tensor([[begin, *row]])
    never = None if per == "line" else [[number] for number in own.special if number < theirs.config.vocab_size]
    said = theirs.generate(
        ids, max_new_tokens=8, do_sample=False, eos_token_id=end, pad_token_id=end, bad_words_ids=never
    )[0, 1:].tolist()
    (expected,) = own.decode([said], strip=per == "line")
    assert text == expected


def test_a_decoder_that_writes_begins_with_the_weights_of_a_run(tmp_path: Path) -> None:
    data, folder = write_lines(tmp_path / "data"), save("gpt2", tmp_path / "gpt2")
    words = ["--task", "generate", "--model", "causal", "--pretrained", str(folder), "--data", str(data), "--steps"]
    first = train(tmp_path / "first", *words, "2", "--lr", "1e-2")
    then = train(tmp_path / "then", *words, "1", "--lr", "1e-12", "--weight-decay", "0", "--weights", str(first))
    before, after = (load_file(last_checkpoint(run) / "model.safetensors") for run in (first, then))
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, msg=name)


def test_an_export_writes_what_the_run_does(tmp_path: Path) -> None:
    data, folder = write_lines(tmp_path / "data"), save("gpt2", tmp_path / "gpt2")
    words = ["--task", "generate", "--model", "causal", "--pretrained", str(folder), "--data", str(data)]
    run = train(tmp_path, *words, "--max-length", "16", "--steps", "4", "--lora", "2")
    assert command(["nlp", "export", str(run), "--format", "onnx"]) == 0
    session = onnxruntime.InferenceSession(run / "export" / "model.onnx")
    front = Front(read_json(run / "export" / "model.onnx.json"), run / "export")
    (answer,) = front.answers(lambda arrays: session.run(None, dict(arrays))[0], ["the cat"], temperature=0, length=9)
    assert [answer["text"]] == ptapp.load(run).generate("the cat", temperature=0, length=9)


def test_a_decoder_that_writes_in_its_whole_context_exports(tmp_path: Path) -> None:
    data, folder = write_lines(tmp_path / "data"), save("gpt2", tmp_path / "gpt2")
    words = ["--task", "generate", "--model", "causal", "--pretrained", str(folder), "--data", str(data)]
    run = train(tmp_path, *words, "--max-length", str(POSITIONS), "--steps", "1")
    assert command(["nlp", "export", str(run), "--format", "onnx"]) == 0


def test_the_mark_before_a_text_is_read_and_not_predicted(tmp_path: Path) -> None:
    tokens = causal.causal_tokens(str(save("llama", tmp_path / "llama")), writes=True)
    begin, end = tokens.marks or (0, 0)
    own = tokens.encode(["the cat", "a dog"], 99)
    examples = Examples(["the cat", "a dog"], [], ["1", "2"])
    whole = [begin, *own[0], end, begin, *own[1], end]
    texts, _ = encode("generate", examples, tokens, limit=40)
    batch = texts.gather(torch.tensor([0]))
    assert batch["input"].tolist() == [whole]
    _, target = generated(lambda ids: ids, batch, tokens.pad)
    assert target.tolist() == [[IGNORED if number == begin else number for number in whole[1:]]]
    assert batch["units"] == len(own[0]) + len(own[1]) + 2
    blocks, _ = encode("generate", examples, tokens, limit=4)
    together = blocks.gather(torch.arange(len(blocks)))
    _, target = generated(lambda ids: ids, together, tokens.pad)
    assert int((target != IGNORED).sum()) == together["units"] == batch["units"]


@pytest.mark.parametrize("per", ["line", "file"])
def test_padding_is_never_written(per: str, tmp_path: Path) -> None:
    data, folder = write_lines(tmp_path / "data"), save("gpt2", tmp_path / "gpt2", vocab_size=320)
    words = ["--task", "generate", "--model", "causal", "--pretrained", str(folder), "--data", str(data)]
    run = train(tmp_path, *words, "--text-per", per, "--max-length", "16", "--steps", "1", "--lr", "1e-9")
    model = ptapp.load(run)
    pad = model.front.tokens.pad
    assert pad < 320  # the weights have a row of that number
    said = []
    forward = model.model.logits

    def to_padding(ids: torch.Tensor, **cache: object) -> torch.Tensor:
        logits = forward(ids, **cache)
        logits[:, :, pad] = 99.0
        said.append(ids)
        return logits

    model.model.logits = to_padding
    model.generate("the cat", temperature=0, length=8)
    assert len(said) > 1
    assert all(int((ids == pad).sum()) == 0 for ids in said)


def test_a_head_that_learned_alone_is_followed_by_lora(tmp_path: Path) -> None:
    data, folder = write_texts(tmp_path / "texts"), save("gpt2", tmp_path / "gpt2")
    words = ["--model", "causal", "--pretrained", str(folder), "--data", str(data)]
    first = train(tmp_path / "first", *words, "--steps", "2", "--freeze", "encoder", "--lr", "1e-2")
    still = ["--lr", "1e-12", "--weight-decay", "0"]
    then = train(tmp_path / "then", *words, "--steps", "1", "--lora", "2", "--weights", str(first), *still)
    before, after = (load_file(last_checkpoint(run) / "model.safetensors") for run in (first, then))
    assert any(".lora_" in name for name in after)
    plain = {name.replace(".base_layer.", "."): weight for name, weight in after.items() if ".lora_" not in name}
    assert plain.keys() == before.keys()
    for name, weight in before.items():
        if not name.startswith("kind."):
            torch.testing.assert_close(plain[name], weight, msg=name)


def test_a_run_resumes_without_the_weights_that_it_began_with(tmp_path: Path) -> None:
    data, folder = write_texts(tmp_path / "texts"), save("gpt2", tmp_path / "gpt2")
    words = ["--model", "causal", "--pretrained", str(folder), "--data", str(data), "--batch-size", "16"]
    first = train(tmp_path / "first", *words, "--steps", "1")
    run = train(tmp_path / "then", *words, "--steps", "4", "--eval-every", "0.34", "--weights", str(first))
    assert len(list((run / "checkpoints").glob("step-*"))) == 2
    (tmp_path / "first").rename(tmp_path / "moved")
    resumes(run)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_with_its_weights_again(tmp_path: Path) -> None:
    data, folder = write_texts(tmp_path / "texts"), save("gpt2", tmp_path / "gpt2")
    words = ["--model", "causal", "--pretrained", str(folder), "--data", str(data), "--batch-size", "16"]
    first = train(tmp_path / "first", *words, "--steps", "2", "--lr", "1e-2")
    run = train(tmp_path / "then", *words, "--steps", "2", "--weights", str(first))
    assert len(list((run / "checkpoints").glob("step-*"))) == 1
    resumes(run)


@pytest.mark.parametrize(("place", "pair"), [("before", "<e> a <e> a"), ("after", "a <e> a <e>"), ("none", "a <e> a")])
def test_a_mark_around_a_text_stays_on_its_side_in_a_pair(place: str, pair: str) -> None:
    own = tokens_of_bytes().backend_tokenizer
    single = {"before": "E $A", "after": "$A E", "none": "$A"}[place]
    mark = {"id": "E", "ids": [0], "tokens": ["<|endoftext|>"]}
    own.post_processor = processors.TemplateProcessing(single=single, special_tokens=[mark])
    tokens = Tokens(own, marks=(0, 0))
    before = tokens.encode(["a"], 9)
    tokens.mark_pairs()
    assert tokens.encode(["a"], 9) == before
    (a,) = own.encode("a", add_special_tokens=False).ids
    assert tokens.encode([("a", "a")], 9) == [[0 if name == "<e>" else a for name in pair.split()]]


def test_each_lower_layer_of_a_decoder_learns_more_slowly_or_it_is_refused(tmp_path: Path) -> None:
    folder = str(save("mpt", tmp_path / "mpt", d_model=16, n_layers=2, n_heads=2))
    settings = TrainNLP(model="causal", pretrained=folder, lr=1.0, layer_decay=0.5)
    model = nn.ModuleDict({"encoder": causal.CausalEncoder(causal.describe(folder), folder, 300)})
    rates = {group["lr"] for group in optimizer_of(settings, model).param_groups}
    assert rates == {1.0, 0.5, 0.25, 0.125}
    with pytest.raises(UserError, match="--layer-decay: the names of this model's weights tell no layers"):
        optimizer_of(settings, nn.ModuleDict({"encoder": nn.Linear(2, 2)}))


def test_pairs_have_the_end_mark_between_them(tmp_path: Path) -> None:
    data, folder = tmp_path / "pairs.csv", save("gpt2", tmp_path / "gpt2")
    rows = [f"{TEXTS[n % 4]} {n},{TEXTS[n % 3]} {n},{n % 2}" for n in range(60)]
    data.write_text("premise,hypothesis,label\n" + "\n".join(rows) + "\n")
    run = train(tmp_path, "--model", "causal", "--pretrained", str(folder), "--data", str(data), "--steps", "2")
    tokens = ptapp.load(run).front.tokens
    (pair,), (first,), (second,) = (tokens.encode([text], 99) for text in (("a cat", "a dog"), "a cat", "a dog"))
    assert pair == [*first, tokens.end, *second]


def test_what_is_no_decoder_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, reason in (("t5", r"an encoder-decoder \(t5\)"), ("albert", r"a albert; --model causal needs a decoder")):
        config_of(kind).save_pretrained(tmp_path / kind)
        with pytest.raises(UserError, match=reason):
            causal.describe(str(tmp_path / kind))
    both_ways = str(save_encoder(config_of("bert"), tmp_path / "bert"))
    with pytest.raises(UserError, match="first token sees the last; give --model bert"):
        causal.CausalEncoder(causal.describe(both_ways), both_ways, 0)
    uneven = str(save("codegen", tmp_path / "codegen", rotary_dim=4))  # whose heads are not divided by 4
    with pytest.raises(UserError, match=r"a codegen does not read token numbers alone \(shape .+\); give a decoder"):
        causal.CausalLanguageModel(causal.describe(uneven), uneven, 300, vocab=300)
    body = save("llama", tmp_path / "body")
    weights = {name: w for name, w in load_file(body / "model.safetensors").items() if not name.startswith("lm_head")}
    save_file(weights, body / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"its weights lack lm_head\.weight"):
        causal.CausalLanguageModel(causal.describe(str(body)), str(body), 350, vocab=351)
    endless = save("gpt2", tmp_path / "endless")
    named = (endless / "tokenizer_config.json").read_text()
    (endless / "tokenizer_config.json").write_text(named.replace('"eos_token"', '"other_token"'))
    with pytest.raises(UserError, match="no token for the end of a text; name its eos_token"):
        causal.causal_tokens(str(endless), writes=True)
    taken = save("gpt2", tmp_path / "taken")
    own, marks = Tokenizer(models.Unigram()), ["</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(special_tokens=marks, unk_token="<unk>", show_progress=False)
    own.train_from_iterator(TEXTS, trainer)
    PreTrainedTokenizerFast(tokenizer_object=own, eos_token="</s>").save_pretrained(taken)
    with pytest.raises(UserError, match="its tokenizer takes </s> in a text for its end"):
        causal.causal_tokens(str(taken), writes=True)
    small = save("gpt2", tmp_path / "small", vocab_size=200)
    with pytest.raises(UserError, match="its tokenizer has a token 299, and the weights end at 199"):
        causal.causal_tokens(str(small), writes=True)
    words = ["nlp", "train", *COMMON, "--run-dir", str(tmp_path), "--model", "causal"]
    config_of("albert").save_pretrained(both_ways)
    for more, reason in (
        (["--pretrained", both_ways], "a albert; --model causal needs a decoder"),
        (
            ["--model", "lstm", "--max-length", "none"],
            "--max-length none is for --model bert, causal and seq2seq, not for lstm",
        ),
        ([], "--model causal needs --pretrained: a folder with a decoder"),
        (["--pretrained", "x", "--pool", "first"], "the first token of a decoder sees no other"),
        (["--pretrained", "x", "--word-dropout", "0.1"], "--word-dropout does nothing here"),
        (["--pretrained", "x", "--task", "generate", "--dropout", "0.3"], "--dropout does nothing here"),
        (["--pretrained", "x", "--task", "tag"], "--model causal cannot tag"),
    ):
        assert command([*words, *more]) == 2
        assert reason in capsys.readouterr().err
