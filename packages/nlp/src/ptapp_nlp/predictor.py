"""A trained model of texts, for `ptapp nlp predict`, `translate`, `generate` and `ptapp.load`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained, Which
from ptapp_core.kinds.kind import kind_in
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_core.settings.own import is_own
from ptapp_nlp.card import About
from ptapp_nlp.config import SUPERVISED
from ptapp_nlp.data.batches import Ragged
from ptapp_nlp.data.encode import fallback_tag, whole_lengths
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.decode import sample, session_of, translations
from ptapp_nlp.models import Translator, build

_NOTHING: dict[str, dict[str, Any]] = {
    "classify": {"class": None, "confidence": None, "probabilities": {}},
    "multilabel": {"labels": [], "probabilities": {}},
    "regress": {"values": {}},
    "multitask": {"targets": {}},
    "tag": {"words": [], "tags": []},
    "translate": {"translation": ""},
}
"""The answer to a text without a character to read: a model would make one up."""


class Predictor:
    """The model of a run of `ptapp nlp train`, with all that it takes to answer.

    Raises UserError where the directory holds no such run.
    """

    def __init__(self, run: Path, checkpoint: Which, runtime: Runtime) -> None:
        trained = Trained.find(run, "nlp", About, which=checkpoint)
        card = trained.about.model
        self.run = run
        self.task = card.task
        """classify, multilabel, regress, multitask, tag, translate or generate."""
        self.made = trained.about.made
        """Whether the model learned from texts that the program made."""
        self.max_length = card.max_length
        """Tokens that the model reads."""
        self.text_per = card.text_per
        self.tokens = Tokens.load(run / "tokenizer.json", trained.about.tokenizer)
        self.model = trained.load(build).to(runtime.device)
        """Token numbers, int64 (N, T) -> logits, or what the kind of target takes."""
        self.tags = list(card.classes) if self.task == "tag" else []
        """The names of the tags of a tagger, in the order of the model's outputs."""
        self._nothing = {} if is_own(card.kind) else _NOTHING.get(self.task, {})
        self._runtime = runtime

    def predict(self, texts: Sequence[str], *, beam: int = 4, length_penalty: float = 1.0) -> list[dict[str, Any]]:
        """An answer for each text, by what the model was trained for.

        classify: `class`, `confidence`, `probabilities`; multilabel: `labels`, those that reach their thresholds, and
        `probabilities`; regress: `values` by name; several targets: `targets`, the answer of each by its name; tag:
        `words`, `tags`; translate: `translation`, by a search of width `beam` (Wu et al. 2016 have the length penalty).
        A text that the model does not read whole has `tokens`, its length, and `read`, how many of them were. Raises
        UserError for a run that generates texts.
        """
        if self.task == "generate":
            raise UserError(f"{self.run}: learned to generate texts; call `generate`")
        if isinstance(texts, str):
            raise UserError("`predict` takes a list: give [text] for a single one")
        full = [text for text in texts if text.strip()]
        answers = iter(self._answers(full, beam, length_penalty) if full else [])
        found = []
        words = [text.split() for text in texts] if self.task == "tag" else texts
        for text, length in zip(texts, whole_lengths(self.task, words, self.tokens), strict=True):
            said = next(answers) if text.strip() else self._nothing
            found.append({**said, **({"tokens": length, "read": self.max_length} if length > self.max_length else {})})
        return found

    def generate(
        self,
        prompt: str = "",
        *,
        length: int = 60,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        number: int = 1,
        seed: int = 0,
    ) -> list[str]:
        """So many texts that begin with the prompt, each with at most `length` tokens more.

        Temperature 0 takes the likeliest token, else one is drawn among the `top_k` likeliest (Fan et al. 2018) or the
        likeliest with the share `top_p` (Holtzman et al. 2020). Raises UserError for a run that does not generate.
        """
        if self.task != "generate":
            raise UserError(f"{self.run}: learned to {self.task}, not to generate; use `ptapp nlp predict`")
        ids = self._read(prompt)
        read = ids[1 - self.max_length :] if len(ids) >= self.max_length else ids
        # A text begins after the end of another, or of a line, as in the stream that the model learned from.
        first = torch.tensor([[self.tokens.begin(self.text_per), *read]] * number, device=self._runtime.device)
        with torch.no_grad(), self._runtime.autocast():
            rows = sample(
                session_of(self.model, self.max_length).advance,
                first,
                length,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                seed=seed,
            )
        return self.tokens.decode([read + row for row in rows], strip=self.text_per != "file")

    def notes_on(self, prompt: str) -> list[str]:
        """What is lost of a prompt."""
        ids = self._read(prompt)
        notes = []
        if self.tokens.unk in ids:
            notes.append("what the model does not know of the prompt is left out of the text")
        if len(ids) >= self.max_length:
            notes.append(f"only the last {self.max_length - 1} tokens of the prompt are read")
        return notes

    def _read(self, prompt: str) -> list[int]:
        """The tokens of a prompt; raises UserError for a line break where the model knows none."""
        running = self.text_per == "file"
        prompt = prompt if running else prompt.strip()
        if "\n" in prompt and not running:
            raise UserError(
                f"--prompt: has a line break, and {self.run} learned from texts of a line each; give one line, or "
                "train with --text-per file"
            )
        return self.tokens.encode([prompt], sys.maxsize)[0] if prompt else []

    def _answers(self, texts: Sequence[str], beam: int, length_penalty: float) -> list[dict[str, Any]]:
        if self.task == "translate":
            assert isinstance(self.model, Translator)
            said = translations(
                self.model,
                texts,
                self.tokens,
                runtime=self._runtime,
                limit=self.max_length,
                width=beam,
                penalty=length_penalty,
            )
            return [{"translation": text} for text in said]
        if self.task in SUPERVISED:
            kind = kind_in(self.model)
            values = kind(self._outputs(self.tokens.encode(texts, self.max_length)).cpu())
            return [kind.answer(row) for row in values.tolist()]
        words = [text.split() for text in texts]
        coded = [self.tokens.encode_words(row, self.max_length) for row in words]
        best, fallback = self._outputs([ids for ids, _ in coded]).argmax(2), fallback_tag(self.tags)
        answers = []
        for row, (_, places) in enumerate(coded):
            numbers = [int(best[row, place]) if place >= 0 else fallback for place in places]
            answers.append({"words": words[row], "tags": [self.tags[number] for number in numbers]})
        return answers

    def _outputs(self, rows: list[list[int]]) -> Tensor:
        """(N, K), or (N, T, K) for tags, float32 on the model's device."""
        ids = self._runtime.to_device(Ragged(rows, self.tokens.pad).gather(torch.arange(len(rows))))
        with torch.no_grad(), self._runtime.autocast():
            return refuse_not_finite(self.model(ids).float())
