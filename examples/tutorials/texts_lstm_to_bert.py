"""Texts to classes: an LSTM, and then a BERT, which is first given all that a pretrained encoder needs.

The BERT is tiny and its weights are random, so that the program needs no download.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from string import ascii_lowercase

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

import ptapp
from ptapp_nlp.data.built_in import make

COMMAND = [sys.executable, "-m", "ptapp_core.cli.main"]  # what `ptapp` calls
SETTINGS = ["--precision", "fp32", "--threads", "1", "--log-to", "none"]


def train(line: str) -> Path | None:
    """Prints a command and runs it on the built-in reviews.

    Prints the share of the test's reviews that is right and returns the run; prints the error if it is refused.
    """
    print("$ ptapp nlp train", line)
    done = subprocess.run([*COMMAND, "nlp", "train", *line.split(), *SETTINGS], capture_output=True, text=True)
    if done.returncode:
        print(done.stderr.strip())
        return None
    (run,) = (Path(text[5:]) for text in done.stdout.splitlines() if text.startswith("run: "))
    figures = json.loads((run / "report" / "metrics.json").read_text())["test"]
    print(f"accuracy {figures['accuracy']:.2f}")
    return run


reviews, classes, _ = make("classify")
texts, labels = reviews["train"].source, reviews["train"].target
for text, label in list(zip(texts, labels, strict=True))[:3]:
    print(f"{classes[label]}: {text}")

print("\nAn LSTM")
run = train("--model lstm --dim 64 --lr 0.01 --epochs 4")
assert run is not None
asked = ["the film is good .", "the film is not good ."]
for text, answer in zip(asked, ptapp.load(run).predict(asked), strict=True):
    print(f"  {text} {answer['class']}")

print("\nA folder for --pretrained")
words = sorted({word for text in texts for word in text.split()})
letters = [*ascii_lowercase, *(f"##{letter}" for letter in ascii_lowercase)]  # what other words are put together from
tokens = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *words])
tokenizer = BertTokenizerFast(vocab={token: number for number, token in enumerate(tokens)})
torch.manual_seed(0)
shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
model = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **shape))
model.save_pretrained("tiny-bert")
tokenizer.save_pretrained("tiny-bert")
print(*sorted(path.name for path in Path("tiny-bert").iterdir()))
print(f"tokens {len(tokenizer)}, rows of the embedding {model.get_input_embeddings().num_embeddings}")
print(*tokenizer("the film is a comedy").tokens())

print("\nA folder without its tokenizer")
shutil.copytree("tiny-bert", "no-tokenizer", ignore=shutil.ignore_patterns("tokenizer*"), dirs_exist_ok=True)
train("--model bert --pretrained no-tokenizer")

print("\nRandom weights")
train("--model bert --pretrained tiny-bert --lr 2e-5 --epochs 2")
train("--model bert --pretrained tiny-bert --lr 2e-3 --epochs 3")
