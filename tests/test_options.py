"""Every option of every model does something, or is refused: no value that a user gives is dropped in silence.

A job is built from its settings as `train` builds it, and takes some steps. What they leave (the weights, those
that are shipped, the learning rates, the model's form, the plan's steps) must change with every option that is not
refused.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import nullcontext
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from contract import of_audio, of_rl, of_tabular, of_vision
from ptapp_core.cli.main import main
from ptapp_core.domain import AnyDomain, Domain
from ptapp_core.errors import UserError
from ptapp_core.fit import forward_backward
from ptapp_core.loop.averaging import Averaging
from ptapp_core.loop.update import Update
from ptapp_core.runs.typed import Typed
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import RECORD, flag, group_of, kind
from ptapp_core.settings.train import JobSettings, TrainSettings
from ptapp_core.task import Progress

pytestmark = pytest.mark.slow

SETTINGS = {
    "vision": "TrainVision",
    "nlp": "TrainNLP",
    "audio": "TrainAudio",
    "rl": "TrainRL",
    "tabular": "TrainTabular",
}
# What is not seen in a few steps: where and how visibly a job runs, what it is, and how it is measured.
ELSEWHERE = {
    *(TrainSettings.may_change | {"frames", "vector", "parallel", "resume", "name", "run_dir", "deterministic"}),
    *("precision", "compile", "activation_checkpointing", "sync_batchnorm", "channels_last", "cache"),
    *(
        "data",
        "model",
        "task",
        "algo",
        "env",
        "wrap",
        "pretrained",
        "weights",
        "folds",
        "fold",
        "seeds",
        "allow_duplicates",
    ),
    *("skip_bad", "eval_episodes", "test_episodes", "freeze", "channels", "split", "text_column", "label_column"),
    "long",  # of which nlp/test_long.py has texts that are long
    *("group_column", "split_by", "began_with", "qat", "trial", "stochastic_eval", "double"),
}
VALUES: dict[str, list[Any]] = {
    "average_decay": [0.01],
    "clip": [1e-4],
    "clip_value": [1e-6],
    "target_kl": [1e-9],
    "milestones": [[0.2], [0.2, 0.4]],
    "hidden": [24, [24]],
    "drop": [["colour"]],
    "category": [["age"]],
    "low": [300.0],
    "monitor": ["loss", "accuracy", "psnr", "iqm"],
    "max_length": [5],
    "vocab": [300],
    "pair": ["de-en"],
    "encoding": ["latin-1"],
    "size": [32],
    "rate": [2000],
    "seconds": [0.4],
    "least": [70],
    "lora": [2],
    "loss": ["focal", "l1", "contrastive"],
    "margin": [0.001],
    "tau": [0.5, 0.1],
    "stochastic_depth": [0.9],
    "value_min": [-3.0],
    "value_max": [3.0],
}
SHARE = 10  # a test looks at every tenth option of a job, at other ones for each job; with ALL_OPTIONS set at all
PLAN = ("steps", "warmup", "accumulate", "log_every", "eval_every", "save_every", "monitor", "patience")


def others(settings: JobSettings, name: str) -> list[Any]:
    """Values of an option that its job has not."""
    field, now = type(settings).model_fields[name], getattr(settings, name)
    what = kind(field)
    if name in VALUES:
        return VALUES[name]
    if what.choices:
        return [choice for choice in what.choices if choice != now]
    if what.base is bool:
        return [not now]
    if what.base is int:
        return [2 * (now or 1), (now or 4) // 2, (now or 0) + 1, 300]
    return [(now or 0.1) / 2, (now or 0.1) * 2, 0.3]


class Built(Exception):
    """What `train` hands to the loop."""

    def __init__(self, plan: Any, runtime: Any, parts: dict[str, Any]) -> None:
        self.plan, self.runtime, self.parts = plan, runtime, parts


def domain_called(name: str) -> AnyDomain:
    """What a supervised domain brings."""
    found = vars(import_module(f"ptapp_{name}.domain")).values()
    return next(value for value in found if isinstance(value, Domain))


def left(settings: JobSettings, domain: str, folder: Path, steps: int) -> str:
    """A digest of what some steps of the job leave."""

    def stop(plan: Any, runtime: Any, run: Any, **parts: Any) -> None:
        raise Built(plan, runtime, parts)

    module = import_module("ptapp_rl.train" if domain == "rl" else "ptapp_core.domain")
    brought = () if domain == "rl" else (domain_called(domain),)
    run = SimpleNamespace(path=folder, say=lambda line: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fit", stop)
        patch.setattr(module, "run_of", lambda *_, **__: nullcontext(run))
        with pytest.raises(Built) as caught:
            module.train_once(*brought, settings)
        return _digest(caught.value, steps)


def _digest(built: Built, steps: int) -> str:
    plan, runtime = built.plan, built.runtime
    task, source, optimizer, schedule = (built.parts[name] for name in ("task", "source", "optimizer", "schedule"))
    torch.manual_seed(0)
    said = [repr(task.model), [getattr(plan, name) for name in PLAN]]
    update, weights, progress, batches = (
        Update(optimizer, runtime, plan.clip),
        Averaging(task, plan),
        Progress(),
        iter(source),
    )
    task.train()
    for step in range(1, plan.steps + 1):
        said.append([group["lr"] for group in optimizer.param_groups])
        if step <= steps and (window := list(islice(batches, plan.accumulate))):
            figures, units, averaged = forward_backward(task, window, runtime, update=update)
            update.step(figures["loss"], 1.0 if averaged else 1 / max(units, 1))
            weights.update(step)
            progress.step = step
            task.after_step(progress)
        schedule.step()
        schedule.observe(0.0)
    digest = hashlib.sha256(repr(said).encode())
    for state in (task.state_dict(), weights.shipped.state_dict()):
        for name, value in sorted(state.items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def options_of(words: list[str]) -> dict[str, Any]:
    """The fields that a command line sets."""
    found: dict[str, Any] = {}
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            found[word[2:].replace("-", "_")] = "true" if following.startswith("--") else following
    return {name: value.split(",") if name in ("hidden", "log_to") else value for name, value in found.items()}


def write_words(folder: Path) -> Path:
    """Tables, tagged words and lines of many words and characters, some of them capital, some rare."""
    folder.mkdir()
    words = [f"{'Ww'[n % 2]}örd{chr(0x4E00 + n // 2)}" for n in range(800)]
    texts = [" ".join(words[(9 * row + place) % 800] for place in range(3 + row % 9)) for row in range(200)]
    (folder / "classify.csv").write_text("text,label\n" + "".join(f"{t},{'abb'[n % 3]}\n" for n, t in enumerate(texts)))
    (folder / "translate.csv").write_text("en,de\n" + "".join(f"{t},{t[::-1]}\n" for t in texts))
    (folder / "generate.csv.txt").write_text("\n".join(texts) + "\n")
    tagged = "\n\n".join("\n".join(f"{w}\t{'OX'[len(w) % 2 ^ n % 2]}" for n, w in enumerate(t.split())) for t in texts)
    (folder / "tag.conll").write_text(tagged + "\n")
    return folder


TEXT_MODELS = [
    *(("classify", model) for model in ("lstm", "gru", "transformer")),
    *(("tag", model) for model in ("lstm-crf", "lstm", "transformer")),
    ("translate", "transformer"),
    *(("generate", model) for model in ("transformer", "lstm")),
]
SMALL = "--dim 16 --layers 1 --steps 12 --batch-size 16 --device cpu --threads 1 --log-to none"


def jobs(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A small job of each kind: its domain and its options."""
    data = {path.name.split(".")[0]: path for path in write_words(folder / "words").iterdir()}
    for task, model in TEXT_MODELS:
        block = "--max-length 8" if task == "generate" else ""
        yield "nlp", options_of(f"--task {task} --model {model} --data {data[task]} {block} {SMALL}".split())
    texts = f"nlp --data {data['classify']} {SMALL}"
    for schedule in ("step", "exponential", "polynomial", "onecycle", "plateau"):
        yield "nlp", options_of(f"{texts} --schedule {schedule}".split())
    for more in ("--optimizer sgd", "--optimizer adam --average swa", "--average none", "--tokenizer char"):
        yield "nlp", options_of(f"{texts} {more}".split())
    yield "nlp", options_of(f"{texts} --task embed".split())
    steps = "--steps 12 --epochs 1 --batch-size 16 --device cpu --threads 1 --log-to none"
    for model in ("fercnn", "autoencoder"):
        images = of_vision.write_images(folder / "bars")
        yield "vision", options_of(f"--model {model} --data {images} {steps}".split())
    yield "vision", options_of(f"--task embed --data {images} {steps}".split())
    for model in ("cnn", "transformer"):
        sounds = of_audio.write_sounds(folder / "tones")
        words = f"--model {model} --data {sounds} --seconds 0.25 --mels 16 --width 4 {steps}"
        yield "audio", options_of(words.split())
    for balance in ("none", "sampler"):
        table = of_tabular.write_table(folder / "table")
        yield "tabular", options_of(f"--balance {balance} --data {table} {steps}".split())
    for algorithm in ("ppo", "dqn", "a2c", "reinforce", "sac", "td3", "ddpg", "rainbow"):
        yield "rl", options_of(of_rl._train(algorithm, folder)[2:])


def resolve(domain: str, options: dict[str, Any]) -> JobSettings:
    chosen = {name: value for name, value in options.items() if name != "epochs" or "steps" not in options}
    return getattr(import_module(f"ptapp_{domain}.config"), SETTINGS[domain]).resolve(None, chosen)


def without_effect(domain: str, options: dict[str, Any], folder: Path, part: int | None) -> list[str]:
    """The options that are neither refused nor heeded, and those that are refused though they would be heeded; of all
    options, or of one part of them."""
    base, wrong = resolve(domain, options), []
    steps = 12 if domain == "rl" else 3
    before = left(base, domain, folder, steps)
    assert left(base, domain, folder, steps) == before
    names = sorted(type(base).model_fields.keys() - ELSEWHERE)
    for name in names if part is None else names[part % SHARE :: SHARE]:
        accepted = False
        for value in others(base, name):
            try:
                changed = resolve(domain, {**options, name: value})
                if left(changed, domain, folder, steps) != before:
                    break
                accepted = True
            except UserError as error:
                # Its own refusal: another value may also leave a given option without effect.
                if re.match(rf"--(no-)?{name.replace('_', '-')} does nothing here", str(error)):
                    changed = base.model_copy(update={name: value})
                    if left(changed, domain, folder, steps) != before:
                        wrong.append(f"{name} {value!r} is refused, and would be heeded")
                    accepted = False
                    break
        else:
            if accepted:
                wrong.append(f"{name} is not heeded")
    return wrong


@pytest.mark.parametrize("number", range(34))
def test_every_option_does_something_or_is_refused(number: int, tmp_path: Path) -> None:
    domain, options = list(jobs(tmp_path))[number]
    part = None if "ALL_OPTIONS" in os.environ else number
    assert not without_effect(domain, options, tmp_path, part), options


@pytest.mark.parametrize(
    ("domain", "given", "flag"),
    [
        ("nlp", {"optimizer": "adam", "momentum": 0.5}, "--momentum"),
        ("nlp", {"power": 2.0}, "--power"),
        ("vision", {"milestones": [0.5]}, "--milestones"),
        ("vision", {"lr_gamma": 0.5}, "--lr-gamma"),
        ("vision", {"average": "swa", "average_decay": 0.9}, "--average-decay"),
        ("vision", {"skip_bad": True}, "--skip-bad"),
        ("nlp", {"heads": 2}, "--heads"),
        ("nlp", {"norm": "post"}, "--norm"),
        ("nlp", {"model": "transformer", "bidirectional": False}, "--no-bidirectional"),
        ("nlp", {"task": "tag", "pool": "last"}, "--pool"),
        ("nlp", {"tokenizer": "bpe", "least": 5}, "--least"),
        ("nlp", {"model": "bert", "pretrained": "x", "lower": False}, "--no-lower"),
        ("nlp", {"model": "bert", "pretrained": "x", "dim": 64}, "--dim"),
        ("nlp", {"workers": 4}, "--workers"),
        ("nlp", {"encoding": "latin-1"}, "--encoding"),
        ("nlp", {"task": "tag", "data": "x", "text_column": "a"}, "--text-column"),
        ("audio", {"model": "wav2vec2", "pretrained": "x", "mels": 32}, "--mels"),
        ("audio", {"snr": 3.0}, "--snr"),
        ("audio", {"masks": 0, "time_mask": 0.3}, "--time-mask"),
        ("audio", {"masks": 3, "time_mask": 0.0, "freq_mask": 0.0}, "--masks"),
        ("tabular", {"workers": 4}, "--workers"),
        ("tabular", {"activation_checkpointing": True}, "--activation-checkpointing"),
        ("rl", {"algo": "dqn", "priority_exponent": 0.3}, "--priority-exponent"),
        ("rl", {"algo": "dqn", "tau": 0.1, "target_every": 9}, "--target-every"),
        ("rl", {"algo": "dqn", "noisy": True, "epsilon": 0.3}, "--epsilon"),
        ("rl", {"algo": "rainbow", "explore": 0.5}, "--explore"),
        ("rl", {"parallel": 2}, "--parallel"),
        ("rl", {"seeds": "0-1", "seed": 7}, "--seed"),
    ],
)
def test_an_option_without_effect_is_refused_and_its_default_never(
    domain: str, given: dict[str, Any], flag: str
) -> None:
    with pytest.raises(UserError, match=f"^{flag} does nothing here: it is for .*; leave it out$"):
        resolve(domain, given)
    name = flag.replace("--no-", "--")[2:].replace("-", "_")
    kind_of = getattr(import_module(f"ptapp_{domain}.config"), SETTINGS[domain])
    resolve(domain, {**given, name: kind_of.model_fields[name].default})


@pytest.mark.parametrize("domain", SETTINGS)
@pytest.mark.parametrize("number", [2**53, -(2**53), 10**20])
def test_an_integer_beyond_a_float_is_refused_for_every_option_of_every_command(domain: str, number: int) -> None:
    commands = vars(import_module(f"ptapp_{domain}.config")).values()
    checked = 0
    for settings in (c for c in commands if isinstance(c, type) and issubclass(c, Settings) and c is not Settings):
        arguments = {
            name: ["x"] if kind(f).many else "x" for name, f in settings.model_fields.items() if f.is_required()
        }
        for name, field in settings.model_fields.items():
            if kind(field).base is int:
                with pytest.raises(UserError, match=rf"^{flag(name)} -?\d+: must be "):
                    settings.resolve(None, {**arguments, name: [str(number)] if kind(field).many else str(number)})
                checked += 1
    assert checked > 10


@pytest.mark.parametrize("domain", [domain for domain in SETTINGS if domain != "tabular"])
def test_no_option_takes_an_integer_that_the_card_of_its_run_refuses(domain: str) -> None:
    cards = [each for each in vars(import_module(f"ptapp_{domain}.card")).values() if isinstance(each, type)]
    on_cards = {name for each in cards if issubclass(each, Typed) for name in each.model_fields}
    fields = getattr(import_module(f"ptapp_{domain}.config"), SETTINGS[domain]).model_fields
    checked = 0
    for name, field in fields.items():
        if kind(field).base is int and not kind(field).many and name in on_cards:
            ends = [getattr(bound, end) for bound in field.metadata for end in ("le", "lt") if hasattr(bound, end)]
            assert min(ends, default=2**53) <= 2**31, name
            checked += 1
    assert checked


@pytest.mark.parametrize("domain", SETTINGS)
def test_help_has_what_matters_first_and_help_all_has_every_option(
    domain: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = getattr(import_module(f"ptapp_{domain}.config"), SETTINGS[domain])
    said = {}
    for word in ("--help", "--help-all"):
        assert main([domain, "train", word]) == 0
        said[word] = capsys.readouterr().out
        assert max(map(len, said[word].splitlines())) <= 80
    assert len(said["--help"].splitlines()) < 60
    assert "--help-all" in said["--help"]
    shown = {word: set(re.findall(r"--(?:\[no-\])?([a-z-]+)", text)) for word, text in said.items()}
    flags = {name: flag(name)[2:] for name, field in settings.model_fields.items() if group_of(field) != RECORD}
    assert set(flags.values()) <= shown["--help-all"]
    assert {flags[name] for name in settings.first} <= shown["--help"]
