"""Prompts and answers: a decoder learns to write the answer alone, after its prompt."""

import json
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

import ptapp
from contract.rows import command
from nlp.decoders import save
from nlp.jobs import COMMON, resumes, train
from ptapp_core.errors import UserError
from ptapp_core.runs.run import read_json
from ptapp_nlp.data.answers import read_answers
from ptapp_nlp.data.encode import IGNORED, encode
from ptapp_nlp.data.lines import Bad
from ptapp_nlp.data.splits import Examples
from ptapp_nlp.models import causal
from ptapp_nlp.models.losses import VocabularyLoss
from ptapp_nlp.models.tasks import OUTPUTS, TokenTask
from ptapp_nlp.serving import Front

pytestmark = pytest.mark.slow
PROMPTS, ANSWERS = ["the cat\nsleeps", "a bird is", ""], ["and the dog\n\nsleeps", "no dog", "word1 word2"]


def write_answers(folder: Path) -> Path:
    folder.mkdir()
    rows = [
        {"prompt": f"{prompt} {number}", "answer": answer}
        for number in range(20)
        for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "answers.jsonl"


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_loss_is_that_of_the_answer_and_its_end_alone(kind: str, tmp_path: Path) -> None:
    folder = str(save(kind, tmp_path / kind))
    tokens = causal.causal_tokens(folder, writes=True)
    model = causal.CausalLanguageModel(causal.describe(folder), folder, tokens.pad, vocab=tokens.size).eval()
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    texts, names = encode("generate", Examples(PROMPTS, ANSWERS, ["1", "2", "3"]), tokens, limit=48, per="answer")
    assert names == ["1", "2", "3"]
    batch = texts.gather(torch.arange(3))
    total, units, _ = TokenTask(model, VocabularyLoss(), OUTPUTS["generate"], pad=tokens.pad)(batch)
    expected, count = torch.tensor(0.0), 0
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        begin = [tokens.begin("answer"), *(tokens.encode([prompt], 99)[0] if prompt else [])]
        said = tokens.encode([answer], 99, eos=True)[0]
        logits = theirs(torch.tensor([begin + said])).logits[0, len(begin) - 1 : -1, : tokens.size]
        expected = expected + functional.cross_entropy(logits, torch.tensor(said), reduction="sum")
        count += len(said)
    assert units == count
    torch.testing.assert_close(total, expected)


def test_what_is_too_long_loses_the_beginning_of_its_prompt_and_then_the_end_of_its_answer(tmp_path: Path) -> None:
    tokens = causal.causal_tokens(str(save("gpt2", tmp_path / "gpt2")), writes=True)
    begin = tokens.begin("answer")
    (prompt,), (said,) = tokens.encode([PROMPTS[0]], 99), tokens.encode([ANSWERS[0]], 99, eos=True)
    for limit in range(4, len(prompt) + len(said) + 3):
        texts, _ = encode("generate", Examples(PROMPTS[:1], ANSWERS[:1], ["1"]), tokens, limit=limit, per="answer")
        batch = texts.gather(torch.tensor([0]))
        kept = said[:limit]
        read = prompt[max(len(prompt) + len(kept) - limit, 0) :]
        assert batch["input"].tolist() == [[begin, *read, *kept]]
        assert batch["target"].tolist() == [[IGNORED] * (len(read) + 1) + kept]
        assert batch["input"].shape[1] <= limit + 1  # whose last is a target alone


def test_a_decoder_learns_answers_resumes_exactly_and_continues_a_prompt(tmp_path: Path) -> None:
    data, folder = write_answers(tmp_path / "data"), save("gpt2", tmp_path / "gpt2")
    words = ["--task", "generate", "--pretrained", str(folder), "--data", str(data), "--max-length", "40"]
    run = train(tmp_path, *words, "--epochs", "60", "--eval-every", "40", "--lr", "1e-2")
    assert len(list((run / "checkpoints").glob("step-*"))) > 1
    resumes(run)
    model = ptapp.load(run)
    prompt = f"{PROMPTS[0]} 3"
    assert model.generate(prompt, temperature=0) == [prompt + ANSWERS[0]]  # with its line breaks
    assert command(["nlp", "evaluate", str(run), "--data", str(data)]) == 0
    assert command(["nlp", "export", str(run), "--format", "onnx"]) == 0
    session = onnxruntime.InferenceSession(run / "export" / "model.onnx")
    front = Front(read_json(run / "export" / "model.onnx.json"), run / "export")
    (answer,) = front.answers(lambda arrays: session.run(None, dict(arrays))[0], [prompt], temperature=0)
    assert answer["text"] == prompt + ANSWERS[0]


def test_what_is_no_answer_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    for content, reason in (
        ('{"prompt": "a", "reply": "b"}\n', "has the keys prompt, reply; to learn writing answers each row needs"),
        ('{"messages": [{"role": "user", "content": "a"}]}\n' * 2, "has the keys messages; to learn"),
        ('{"prompt": "a", "answer": "b"}\n{"prompt": "a", "answer": " "}\n', r"rows\.jsonl:2: the answer is empty"),
        ('{"prompt": "a", "answer": "b"}\n{"prompt": "a"}\n', r"rows\.jsonl:2: the answer is empty"),
    ):
        file.write_text(content)
        with pytest.raises(UserError, match=reason):
            read_answers(file, "utf-8", Bad())
    data, folder = write_answers(tmp_path / "data"), save("gpt2", tmp_path / "gpt2")
    words = ["nlp", "train", *COMMON, "--run-dir", str(tmp_path), "--task", "generate", "--data", str(data)]
    for more, reason in (
        (["--model", "lstm"], "prompts and answers are for --model causal, not for lstm"),
        (["--pretrained", str(folder), "--text-per", "line"], "--text-per line is for plain text"),
    ):
        assert command([*words, *more]) == 2
        assert reason in capsys.readouterr().err
    run = train(tmp_path, "--task", "generate", "--pretrained", str(folder), "--data", str(data), "--steps", "1")
    (tmp_path / "lines.txt").write_text("a line\n\nanother\n")
    assert command(["nlp", "evaluate", str(run), "--data", str(tmp_path / "lines.txt")]) == 2
    assert "is plain text, and the run learned from prompts and answers" in capsys.readouterr().err
