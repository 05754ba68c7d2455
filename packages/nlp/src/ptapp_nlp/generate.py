"""`ptapp nlp generate`: a language model continues with a prompt."""

import json
import sys

from ptapp_core.machine.runtime import Runtime
from ptapp_nlp.config import GenerateNLP
from ptapp_nlp.predictor import Predictor


def generate(settings: GenerateNLP) -> None:
    """Prints a line of JSON a text, or with `stream` the text as it is written; a prompt longer than the model's blocks
    loses its beginning, and that is said."""
    model = Predictor(settings.run, settings.checkpoint, Runtime(settings.device, settings.precision))
    for note in model.notes_on(settings.prompt):
        print(f"ptapp: note: {note}", file=sys.stderr)
    texts = model.generate(
        settings.prompt,
        length=settings.length,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        min_p=settings.min_p,
        repetition_penalty=settings.repetition_penalty,
        stop=settings.stop,
        number=settings.number,
        seed=settings.seed,
        tell=_print_piece if settings.stream else None,
    )
    if settings.stream:
        print()
        return
    for text in texts:
        print(json.dumps({"prompt": settings.prompt, "text": text}, ensure_ascii=False))


def _print_piece(piece: str) -> None:
    print(piece, end="", flush=True)
