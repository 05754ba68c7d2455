"""`ptapp nlp generate`: a language model goes on with a prompt."""

import json
import sys

import torch

from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained
from ptapp_core.machine.runtime import Runtime
from ptapp_nlp.card import About
from ptapp_nlp.config import GenerateNLP
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.decode import sample, session_of
from ptapp_nlp.evaluate import rebuild


def generate(settings: GenerateNLP) -> None:
    """Prints a line of JSON a text; a prompt longer than the model's blocks loses its beginning, and that is said."""
    runtime = Runtime(settings.device, settings.precision)
    trained = Trained.find(settings.run, "nlp", About, which=settings.checkpoint)
    card = trained.about["model"]
    if card["task"] != "generate":
        raise UserError(f"{settings.run}: learnt to {card['task']}, not to generate; use `ptapp nlp predict`")
    tokens = Tokens.load(settings.run / "tokenizer.json", trained.about["tokenizer"])
    model = rebuild(trained).to(runtime.device)
    running = card["text_per"] == "file"
    prompt = settings.prompt if running else settings.prompt.strip()
    if "\n" in prompt and not running:
        raise UserError(
            f"--prompt: has a line break, and {settings.run} learned from texts of a line each; give one line, or "
            "train with --text-per file"
        )
    ids = tokens.encode([prompt], sys.maxsize)[0] if prompt else []
    if tokens.unk in ids:
        print("ptapp: note: what the model does not know of the prompt is left out of the text", file=sys.stderr)
    if len(ids) >= card["max_length"]:
        ids = ids[1 - card["max_length"] :]
        print(f"ptapp: note: only the last {len(ids)} tokens of the prompt are read", file=sys.stderr)
    # A text begins after the end of another, or of a line, as in the stream that the model learnt from.
    first = torch.tensor([[tokens.begin(card["text_per"]), *ids]] * settings.number, device=runtime.device)
    with torch.no_grad(), runtime.autocast():
        rows = sample(
            session_of(model, card["max_length"]).advance,
            first,
            settings.length,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            seed=settings.seed,
        )
    for text in tokens.decode([ids + row for row in rows], strip=not running):
        print(json.dumps({"prompt": settings.prompt, "text": text}, ensure_ascii=False))
