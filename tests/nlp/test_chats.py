"""Chats: a decoder learns to write the assistant's answers alone, as its tokenizer's chat template has them."""

import json
from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import ptapp
from contract.rows import command
from nlp.decoders import save
from nlp.jobs import COMMON, resumes, train
from ptapp_core.errors import UserError
from ptapp_core.runs.run import read_json
from ptapp_nlp.chat import ASSISTANT, ChatForm, asked_by
from ptapp_nlp.data.answers import form_of_answers, read_chats
from ptapp_nlp.data.encode import IGNORED, encode
from ptapp_nlp.data.lines import Bad
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.models import causal
from ptapp_nlp.serving import Front

pytestmark = pytest.mark.slow
HEAD = "{% for message in messages %}{{ '<|start|>' + message.role + '\\n' }}"
ASKS = "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}"
PLAIN = HEAD + "{{ message.content + '<|end|>\\n' }}" + ASKS
MARKED = (
    HEAD + "{% if message.role == 'assistant' %}{% generation %}{{ message.content + '<|end|>' }}{% endgeneration %}"
    "{{ '\\n' }}{% else %}{{ message.content + '<|end|>\\n' }}{% endif %}" + ASKS
)
COUNTS = "{{ messages | length > 2 }}" + PLAIN


def save_chats(folder: Path, template: str | None = PLAIN) -> str:
    save("gpt2", folder, vocab_size=310)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|start|>", "<|end|>"]})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return str(folder)


def chat(*texts: str, system: str | None = None) -> list[dict[str, str]]:
    """Messages by turns, the user's first."""
    own = [{"role": ("user", ASSISTANT)[place % 2], "content": text} for place, text in enumerate(texts)]
    return [*([{"role": "system", "content": system}] if system else []), *own]


CHATS = [
    chat("the cat", "sleeps", "a\nbird", "is no dog"),
    chat("word1", "word2 word3", system="zwölf"),
    chat("a", "b"),
]


def form_of(folder: str) -> tuple[ChatForm, Tokens]:
    tokens = causal.causal_tokens(folder, writes=True)
    return causal.chat_form(folder, tokens), tokens


def write_chats(file: Path, times: int = 1) -> Path:
    rows = [{"messages": [*messages]} for messages in CHATS for _ in range(times)]
    for number, row in enumerate(rows if times > 1 else []):
        row["messages"] = [
            {**own, "content": own["content"] * (9 if own["role"] == ASSISTANT else 1)} for own in row["messages"]
        ]
        row["messages"][0] = {**row["messages"][0], "content": f"{row['messages'][0]['content']} {number}"}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_tokens_and_answers_are_those_of_transformers_for_a_template_that_marks_them(tmp_path: Path) -> None:
    folder = save_chats(tmp_path / "gpt2", MARKED)
    form, tokens = form_of(folder)
    theirs = AutoTokenizer.from_pretrained(folder)
    for messages in CHATS:
        ids, said = form.answers(messages, tokens)
        expected = theirs.apply_chat_template(messages, return_assistant_tokens_mask=True)
        assert ids == expected["input_ids"]
        assert [*map(int, said)] == expected["assistant_masks"]
        asked = theirs.apply_chat_template(messages[:-1], add_generation_prompt=True)["input_ids"]
        assert form.prompt(messages[:-1], tokens) == asked


def test_a_template_without_marks_has_the_answers_of_one_with_them(tmp_path: Path) -> None:
    marked, plain = form_of(save_chats(tmp_path / "marked", MARKED)), form_of(save_chats(tmp_path / "plain"))
    for messages in CHATS:
        assert plain[0].answers(messages, plain[1]) == marked[0].answers(messages, marked[1])
    assert plain[0].end == plain[1].tokenizer.token_to_id("<|end|>")


def test_the_targets_of_a_chat_are_all_its_answers_and_too_long_ones_keep_the_last(tmp_path: Path) -> None:
    form, tokens = form_of(save_chats(tmp_path / "gpt2"))
    examples = read_chats(write_chats(tmp_path / "chats.jsonl"), "utf-8", Bad())
    assert examples.target[0] == "sleeps\nis no dog"
    texts, _ = encode("generate", examples, tokens, limit=99, per="chat", chat=form)
    batch = texts.gather(torch.tensor([0]))
    ids, said = form.answers(CHATS[0], tokens)
    assert batch["input"].tolist() == [ids]
    assert batch["target"].tolist() == [[number if own else IGNORED for number, own in zip(ids, said, strict=True)]]
    assert batch["units"] == sum(said)
    last = len(form.prompt(CHATS[0][:-1], tokens))
    cut, _ = encode("generate", examples, tokens, limit=9, per="chat", chat=form)
    (row,) = cut.gather(torch.tensor([0]))["input"].tolist()
    answer = ids[last:][:9]
    assert row == [ids[0], *ids[last - 9 + len(answer) : last], *answer]


def test_a_decoder_learns_chats_resumes_exactly_and_answers_as_its_weights_and_its_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder = write_chats(tmp_path / "chats.jsonl", times=20), save_chats(tmp_path / "gpt2")
    words = ["--task", "generate", "--pretrained", folder, "--data", str(data), "--max-length", "48"]
    run = train(tmp_path, *words, "--steps", "9", "--eval-every", "0.5", "--lr", "3e-3")
    resumes(run)
    model, asked = ptapp.load(run), json.dumps({"messages": CHATS[2][:-1]})
    form, tokens = form_of(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    best = load_file(run / "checkpoints/best/model.safetensors")
    theirs.load_state_dict({name.removeprefix("model."): weight for name, weight in best.items()}, strict=False)
    ids = torch.tensor([form.prompt(CHATS[2][:-1], tokens)])
    how = {"max_new_tokens": 9, "do_sample": False, "eos_token_id": form.end, "pad_token_id": form.end}
    said = theirs.generate(ids, bad_words_ids=[[tokens.pad]], **how)[0, ids.shape[1] :].tolist()
    expected = tokens.decode([said])
    assert expected != [""], said
    assert model.generate("a", temperature=0, length=9) == expected  # without the prompt
    assert model.generate(asked, temperature=0, length=9) == expected
    (answer,) = model.predict([asked])
    capsys.readouterr()
    assert command(["nlp", "predict", str(run), "a"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "a", **answer}
    assert command(["nlp", "evaluate", str(run), "--data", str(data)]) == 0
    assert command(["nlp", "export", str(run), "--format", "onnx"]) == 0
    session = onnxruntime.InferenceSession(run / "export" / "model.onnx")
    about = read_json(run / "export" / "model.onnx.json")
    assert about["extras"] == ["chat"]
    front = Front(about, run / "export")
    (told,) = front.answers(lambda arrays: session.run(None, dict(arrays))[0], ["a"], temperature=0, length=9)
    assert [told["text"]] == expected


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "no chat template; give rows with prompt and answer, or put the chat_template.jinja"),
        (PLAIN.replace("<|end|>", "."), "writes no special token after an answer"),
        (PLAIN + "{{ strftime_now('%d') }}", "writes the day's date"),
        (PLAIN.replace("<|start|>assistant", "<|start|>model"), "asks for an answer otherwise than it writes one"),
        (
            MARKED.replace("+ '<|end|>' }}{% endgeneration %}", "}}{% endgeneration %}{{ '<|end|>' }}"),
            "never be learned",
        ),
    ],
)
def test_a_template_that_cannot_be_learned_from_is_refused(template: str | None, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        form_of(save_chats(tmp_path / "gpt2", template))


OPENED = (
    "{% for message in messages %}{{ message.role + ' ' }}"
    "{% if message.role == 'assistant' %}{{ '<|start|>' }}{% endif %}"
    "{{ message.content + '<|end|> ' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)


def test_the_mark_after_an_answer_is_behind_it_also_where_another_one_opens_it(tmp_path: Path) -> None:
    form, tokens = form_of(save_chats(tmp_path / "gpt2", OPENED))
    assert form.end == tokens.tokenizer.token_to_id("<|end|>")
    ids, said = form.answers(chat("a", "word"), tokens)
    learned = tokens.tokenizer.decode(
        [one for one, own in zip(ids, said, strict=True) if own], skip_special_tokens=False
    )
    assert learned == "<|start|>word<|end|>"
    with pytest.raises(UserError, match="writes no special token after an answer"):
        form_of(save_chats(tmp_path / "open", OPENED.replace("+ '<|end|> '", "")))


def test_a_pad_token_that_the_template_writes_is_refused(tmp_path: Path) -> None:
    folder = save_chats(tmp_path / "gpt2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = "<|end|>"
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match="writes the pad token"):
        form_of(folder)


@pytest.mark.parametrize("fault", ["1 / 0", "''.split('')", "range(10 ** 9) | list", "messages[9].role.x", "[][3].a"])
def test_whatever_fails_in_a_template_is_one_line(fault: str, tmp_path: Path) -> None:
    template = PLAIN + "{% if messages[0].content == 'fail' %}{{ " + fault + " }}{% endif %}"
    form, tokens = form_of(save_chats(tmp_path / "gpt2", template))
    with pytest.raises(UserError, match="the chat template does not take these messages") as caught:
        form.prompt(chat("fail"), tokens)
    assert "\n" not in str(caught.value)


def test_what_holds_nothing_is_no_reason_to_refuse_a_chat(tmp_path: Path) -> None:
    said = chat("a", "b")
    said[1] |= {"tool_calls": [], "name": "", "refusal": None}  # type: ignore[dict-item]
    file = tmp_path / "chats.jsonl"
    file.write_text((json.dumps({"messages": [{"role": "system", "content": ""}, *said]}) + "\n") * 2)
    assert read_chats(file, "utf-8", Bad()).target == ("b", "b")
    file.write_text((json.dumps({"prompt": "p", "answer": "q", "messages": said}) + "\n") * 2)
    assert form_of_answers(file, "utf-8") == "answer"


def test_a_chat_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    form, tokens = form_of(save_chats(tmp_path / "counts", COUNTS))
    with pytest.raises(UserError, match="up to message 2 otherwise where it asks"):
        form.answers(chat("a", "b", "c", "d"), tokens)
    with pytest.raises(UserError, match=r"message 1 has <\|end\|> in its text"):
        form.prompt(chat("a<|end|>"), tokens)
    file = tmp_path / "chats.jsonl"
    for row, reason in (
        ([], "no list of messages"),
        ([{"role": "tool", "content": "a"}], "message 1 has the role 'tool'"),
        ([{"role": "user", "content": ["a"]}], "message 1 has no text"),
        ([{"role": "user", "content": "a", "tool_calls": [1]}], "has 'tool_calls', which is not read"),
        (chat("a"), "the assistant says nothing"),
    ):
        file.write_text((json.dumps({"messages": row}) + "\n") * 2)
        with pytest.raises(UserError, match=rf"chats\.jsonl:1: .*{reason}"):
            read_chats(file, "utf-8", Bad())
    for text, reason in (("", "is empty"), ("{a", "is no chat"), (json.dumps({"messages": CHATS[0]}), "leave it out")):
        with pytest.raises(UserError, match=reason):
            asked_by(text)
    data = write_chats(tmp_path / "good.jsonl", times=20)
    words = ["nlp", "train", *COMMON, "--run-dir", str(tmp_path), "--task", "generate", "--data", str(data)]
    assert command([*words, "--model", "lstm"]) == 2
    assert "chats are for --model causal, not for lstm" in capsys.readouterr().err
