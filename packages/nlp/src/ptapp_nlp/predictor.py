"""A trained model of texts, for `ptapp nlp predict`, `translate`, `generate` and `ptapp.load`."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained, Which
from ptapp_core.kinds.embed import Embed, Embedder
from ptapp_core.kinds.kind import kind_in
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_core.serve.front import Arrays
from ptapp_nlp.card import About
from ptapp_nlp.data.pairs import Text, is_blank
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.decode import Translates, sample, session_of, translations
from ptapp_nlp.export import use_of
from ptapp_nlp.models import SentenceTagger, build
from ptapp_nlp.models.own import OwnNetwork
from ptapp_nlp.recipes import SUPERVISED
from ptapp_nlp.serving import Front

_AT_ONCE = 64  # texts that are embedded at a time


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
        self.pair_columns = card.pair_columns
        """The names of the two columns of texts that a model of pairs learned from."""
        self.model = runtime.place(trained.load(build))
        """Token numbers, int64 (N, T) -> logits, or what the kind of target takes."""
        tokens = Tokens.load(run / "tokenizer.json", trained.about.tokenizer, marks=card.marks)
        self.front = Front({**card.stored(), **use_of(card, tokens)}, run, tokens=tokens)
        """What makes numbers of texts, and answers of what a model of tokens gives."""
        self._runtime = runtime

    def predict(self, texts: Sequence[Text], *, beam: int = 4, length_penalty: float = 1.0) -> list[dict[str, Any]]:
        """An answer for each text, or each pair (first, second) of a run of pairs, by what the model was trained for.

        classify: `class`, `confidence`, `probabilities`; embed: `vector`, of length 1; multilabel: `labels`, those that
        reach their thresholds, and `probabilities`; regress: `values` by name; several targets: `targets`, the answer
        of each by its name; tag: `words`, `tags`, and where these mark entities `spans`, each with its `start` and
        `end` in the text, its `type` and the `score` of its least certain word; translate: `translation`, by a search
        of width `beam` (Wu et al. 2016 have the length penalty); a run that learned from chats: `answer`, the likeliest
        next turn of the assistant, token by token and of at most `max_length` tokens, to a message of the user, or to
        `{"messages": [...]}`.
        A text that the model does not read whole has `tokens`, its length, and `read`, how many of them were. Raises
        UserError for a run that generates texts.
        """
        if self.task == "generate" and not self.front.chats:
            raise UserError(f"{self.run}: learned to generate texts; call `generate`")
        if isinstance(texts, str):
            raise UserError("`predict` takes a list: give [text] for a single one")
        if self.front.chats:
            length = self.max_length
            return [
                {"answer": self.generate(str(text), length=length, temperature=0)[0]} for text in self._checked(texts)
            ]
        return self.front.worded(self._checked(texts), lambda full: self._said(full, beam, length_penalty))

    def embed(self, texts: Sequence[Text]) -> npt.NDArray[np.float32]:
        """A vector of length 1 for each text, or pair of a run of pairs, float32 (N, K): as a run of `--task embed`
        learned it, else what its head takes. Of a text that is longer than the model reads it is that of what is read.

        Raises UserError for a blank text, for a run that tags, translates or generates, and for a network of your own
        that did not learn to embed.
        """
        if isinstance(texts, str):
            raise UserError("`embed` takes a list: give [text] for a single one")
        full = self._checked(texts)
        if blank := [place for place, text in enumerate(full) if is_blank(text)]:
            raise UserError(f"text {blank[0]} is blank, and has no vector; leave it out")
        parts = [full[start : start + _AT_ONCE] for start in range(0, len(full), _AT_ONCE)]
        found = [self.front.values(self._vectors, part, unit=True) for part in parts]
        return np.concatenate(found) if found else np.empty((0, 0), np.float32)

    @torch.no_grad()
    def _vectors(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        ids = self._runtime.to_device(torch.from_numpy(arrays["input"]))
        with self._runtime.autocast():
            found: Tensor = self._embedder(ids)
        return refuse_not_finite(found.cpu()).numpy()

    @cached_property
    def _embedder(self) -> Embedder:
        if self.task not in SUPERVISED:
            raise UserError(f"{self.run}: learned to {self.task}, and has no vector of a text; take another run")
        if isinstance(self.model, OwnNetwork) and not isinstance(kind_in(self.model), Embed):
            raise UserError(
                f"{self.run}: nothing says where the head of a network of your own begins; train it with --task embed"
            )
        return Embedder(self.model, "head")

    def generate(
        self,
        prompt: str = "",
        *,
        length: int = 60,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        stop: Sequence[str] = (),
        number: int = 1,
        seed: int = 0,
        tell: Callable[[str], None] | None = None,
    ) -> list[str]:
        """So many texts that begin with the prompt, each with at most `length` tokens more; of a run that learned from
        chats answers to the prompt, which is read as by `predict`.

        Temperature 0 takes the likeliest token, else one is drawn among the `top_k` likeliest (Fan et al. 2018), the
        likeliest with the share `top_p` (Holtzman et al. 2020), or those with `min_p` times the probability of the
        likeliest (Nguyen et al. 2025). The log-probability of a token that a text has already is multiplied by the
        `repetition_penalty`. A text ends before the first of the strings `stop`. `tell` is given the first text piece
        by piece, as it is written. Raises UserError for a run that does not generate, and for a `stop` that is empty or
        of more than 100 characters.
        """
        self._refuse_other_tasks()
        read = self.front.first(self.front.prompt(prompt, "--prompt"))
        first = torch.tensor([read] * number, device=self._runtime.device)
        said = [self.front.text_after(read, stop, None if row else tell) for row in range(number)]
        with torch.no_grad(), self._runtime.autocast():
            sample(
                session_of(self.model, self.max_length).advance,
                first,
                length,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                repetition_penalty=repetition_penalty,
                seed=seed,
                end=self.front.end,
                never=self.front.never,
                ends=lambda row, token: said[row].take(token),
            )
        return [text.whole() for text in said]

    def notes_on(self, prompt: str) -> list[str]:
        """What is lost of a prompt; raises UserError for a run that does not generate."""
        self._refuse_other_tasks()
        ids, notes = self.front.prompt(prompt, "--prompt"), []
        if self.front.tokens.unk in ids and not self.front.chats:
            notes.append("what the model does not know of the prompt is left out of the text")
        if len(ids) - self.front.chats >= self.max_length:
            notes.append(f"only the last {self.max_length - 1} tokens of the prompt are read")
        return notes

    def _refuse_other_tasks(self) -> None:
        if self.task != "generate":
            raise UserError(f"{self.run}: learned to {self.task}, not to generate; use `ptapp nlp predict`")

    def _checked(self, samples: Sequence[Any]) -> list[Text]:
        """The samples, pairs as tuples; raises UserError for single texts where pairs are read, or pairs where not."""
        for place, own in enumerate(samples):
            if self.pair_columns is None and not isinstance(own, str):
                raise UserError(f"{self.run}: reads single texts; sample {place} is no text")
            pair = isinstance(own, tuple | list) and [*map(type, own)] == [str, str]
            if self.pair_columns is not None and not pair:
                raise UserError(f"{self.run}: reads pairs of texts, (first, second); sample {place} is none")
        return [own if isinstance(own, str) else (own[0], own[1]) for own in samples]

    def _said(self, texts: list[Any], beam: int, length_penalty: float) -> list[dict[str, Any]]:
        if self.task == "tag":
            return self.front.said(self._compute, texts)
        if self.task != "translate":
            kind = kind_in(self.model)
            return [kind.answer(row) for row in self.front.values(self._compute, texts).tolist()]
        said = translations(
            cast(Translates, self.model),
            texts,
            self.front.tokens,
            runtime=self._runtime,
            limit=self.max_length,
            width=beam,
            penalty=length_penalty,
        )
        return [{"translation": text} for text in said]

    @torch.no_grad()
    def _compute(self, arrays: Arrays) -> npt.NDArray[Any]:
        """What the kind gives, (N, K), or the probabilities of tags, (N, T, K), of token numbers, int64 (N, T) or, with
        letters, (N, T, W)."""
        ids = self._runtime.to_device(torch.from_numpy(arrays["input"]))
        with self._runtime.autocast():
            outputs = refuse_not_finite(self.model(ids).float())
        if self.task == "tag":
            return (outputs if isinstance(self.model, SentenceTagger) else outputs.softmax(-1)).cpu().numpy()
        values: Tensor = kind_in(self.model)(outputs.cpu())
        return values.cpu().numpy()
