"""A loss of one's own for `--loss`: one that is robust to wrong labels, and three that are refused.

The functions are in this file, which the commands name. The data are scikit-learn's digits, many of them mislabelled.
Zhang and Sabuncu 2018, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels".
"""

import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from ptapp_core.cli.main import main  # what `ptapp` calls

SETTINGS = ["--precision", "fp32", "--threads", "1", "--log-to", "none"]
WRONG = 0.5  # the share of the training labels that are drawn anew
Q = 0.7  # 0 would be the cross-entropy, 1 the probability of an error


def generalised(logits, target):
    """(1 - p^q) / q for the probability p of the label, summed: float (N, K) and int64 (N,) -> a scalar."""
    p = logits.softmax(1).gather(1, target[:, None])
    return ((1 - p**Q) / Q).sum()


def mean(logits, target):
    """Mistake: a mean of the samples, as torch's losses are unless told otherwise."""
    return functional.cross_entropy(logits, target)


def errors(logits, target):
    """Mistake: the number of errors, which has no gradient."""
    return (logits.argmax(1) != target).float().sum()


def centred(logits, target):
    """Mistake: what a sample adds depends on the others of its batch."""
    return functional.cross_entropy(logits - logits.mean(0), target, reduction="sum")


def command(line: str) -> str:
    """Prints a command, runs it, and returns what it prints; prints an error."""
    print("$ ptapp", line)
    name, out, err = Path(__file__).name, io.StringIO(), io.StringIO()
    words = [word.replace(name, __file__) for word in line.split()]
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*words, *SETTINGS])
    print(err.getvalue().replace(__file__, name) if code else "", end="")
    return out.getvalue()


if __name__ == "__main__":
    logits = torch.tensor([[0.0, 9.0]], dtype=torch.float64, requires_grad=True)
    for loss in (functional.cross_entropy, generalised):
        (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([0])), logits)
        print(f"{loss.__name__}: the gradient of a label that is surely wrong is {gradient.abs().max():.4f}")
    points = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    right = torch.autograd.gradcheck(lambda x: generalised(x, torch.tensor([0, 1, 2, 0])), points)
    print("the gradient of autograd is that of the formula:", right)

    digits, draw = load_digits(), np.random.default_rng(0)
    with Path("digits.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*digits.feature_names, "label", "split"])
        for number, (pixels, label) in enumerate(zip(digits.data, digits.target, strict=True)):
            split = ("train", "train", "val", "test")[number % 4]
            wrong = split == "train" and draw.random() < WRONG
            table.writerow([*pixels, draw.integers(10) if wrong else label, split])

    options = "--data digits.csv --epochs 40 --dropout 0"
    for name in ("mean", "errors", "centred", "generalised", None):
        printed = command(f"tabular train{f' --loss own_loss.py:{name}' * bool(name)} {options}")
        if printed:
            run = next(line[5:] for line in printed.splitlines() if line.startswith("run: "))
            figures = json.loads(Path(run, "report", "metrics.json").read_text())["test"]
            print(f"accuracy {figures['accuracy']:.2f}")
            log = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
            found = [line["val/accuracy"] for line in log if "val/accuracy" in line]
            print("validation after 10, 20 and 40 epochs:", *(f"{found[epochs - 1]:.2f}" for epochs in (10, 20, 40)))
