"""Chats: messages by turns, which the chat template of a decoder's tokenizer turns into tokens. No torch."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ptapp_core.errors import UserError, install
from ptapp_core.runs.typed import Typed
from ptapp_nlp.data.lines import is_unicode

if TYPE_CHECKING:
    from ptapp_nlp.data.tokens import Tokens

ASSISTANT = "assistant"
"""The role of the messages that a model learns to write."""
_ROLES = ("system", "user", ASSISTANT)
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")  # as transformers looks for it

_ANSWER = "zqx"  # an answer that is in the name of no mark
_NOTHING: tuple[Any, ...] = (None, "", [], {})  # what other keys of a message may hold
_FAULTS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)  # of a template's code

Message = Mapping[str, str]
"""A `role` and its `content`."""


class ChatForm(Typed):
    """How messages become the tokens of a chat."""

    template: str
    """Jinja, as transformers has it."""
    names: Mapping[str, str]
    """The texts of the marks that the template knows by name, such as `bos_token`."""
    end: int = Field(ge=0)
    """The mark after an answer."""

    def prompt(self, messages: Sequence[Message], tokens: "Tokens") -> list[int]:
        """The tokens of a chat up to where the assistant's next answer begins.

        Raises UserError where the template refuses the messages, or one of them has the name of a mark.
        """
        text, _ = self._rendered(messages, tokens, add_generation_prompt=True)
        return list(tokens.encode_marked(text).ids)

    def answers(self, messages: Sequence[Message], tokens: "Tokens") -> tuple[list[int], list[bool]]:
        """The tokens of a whole chat, and which of them the assistant writes.

        These are what the template marks by `{% generation %}`; of a template without it, those that follow the prompt
        of each answer, up to the mark after it. Raises UserError as `prompt` does, and where a chat does not begin with
        the prompt of each of its answers.
        """
        marked = _GENERATION.search(self.template) is not None
        text, spans = self._rendered(messages, tokens, return_assistant_tokens_mask=marked)
        encoding = tokens.encode_marked(text)
        said = [False] * len(encoding.ids)
        places = self._between_marks(encoding, spans) if marked else self._after_prompts(messages, encoding.ids, tokens)
        for start, stop in places:
            said[start:stop] = [True] * (stop - start)
        return list(encoding.ids), said

    @staticmethod
    def _between_marks(encoding: Any, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """The tokens of spans of characters, of which some, as blanks, may be in no token."""
        for start, stop in spans:
            places = map(encoding.char_to_token, range(start, stop))
            inside = [place for place in places if place is not None]
            if inside:
                yield inside[0], inside[-1] + 1

    def _after_prompts(
        self, messages: Sequence[Message], whole: list[int], tokens: "Tokens"
    ) -> Iterator[tuple[int, int]]:
        for number, message in enumerate(messages):
            if message["role"] != ASSISTANT:
                continue
            prompt = self.prompt(messages[:number], tokens)
            start = len(prompt)
            if whole[:start] != prompt or self.end not in whole[start:]:
                raise UserError(
                    f"the chat template writes the chat up to message {number + 1} otherwise where it asks for that "
                    "answer, so what the model reads before it is not known; mark the answers in the template by "
                    "{% generation %}, or give rows with prompt and answer"
                )
            yield start, whole.index(self.end, start) + 1

    def _rendered(
        self, messages: Sequence[Message], tokens: "Tokens", **how: Any
    ) -> tuple[str, Sequence[tuple[int, int]]]:
        """The text of a chat, and where the template marks the assistant's part of it."""
        for number, message in enumerate(messages, start=1):
            if (name := next((name for name in tokens.special_names if name in message["content"]), None)) is not None:
                raise UserError(f"message {number} has {name} in its text, which is a mark here; write it otherwise")
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template  # takes a second to import

        try:
            how |= self.names
            rendered: Any = render_jinja_template(
                [[dict(message) for message in messages]], chat_template=self.template, **how
            )
        except (TemplateError, *_FAULTS) as error:
            reason = " ".join(str(error).split())[:100]
            raise UserError(f"the chat template does not take these messages ({reason})") from error
        (text,), spans = rendered
        return text, (spans[0] if spans else ())


def form_of(template: str, names: Mapping[str, str], tokens: "Tokens") -> ChatForm:
    """The form of the chats of a template.

    The mark after an answer is the first one that a chat of two messages has behind its answer.

    Raises UserError where the text of a chat depends on the day, or the template has no such mark, does not mark it as
    the assistant's, has the pad token in it, or asks for an answer otherwise than it writes one.
    """
    if "strftime_now" in template:
        raise UserError("its chat template writes the day's date, so each day has other texts; write a date into it")
    asked, answered = {"role": "user", "content": "a"}, {"role": ASSISTANT, "content": _ANSWER}
    form = ChatForm(template=template, names=names, end=0)
    prompt = form.prompt([asked], tokens)
    text, _ = form._rendered([asked, answered], tokens)
    whole = tokens.encode_marked(text)
    if list(whole.ids[: len(prompt)]) != prompt or _ANSWER not in text:
        raise UserError("its chat template asks for an answer otherwise than it writes one; give another template")
    if tokens.pad in whole.ids:
        raise UserError("its chat template writes the pad token, which is never read: give it a pad_token of its own")
    behind = text.rindex(_ANSWER) + len(_ANSWER)
    ends = [
        place
        for place, (number, (start, _)) in enumerate(zip(whole.ids, whole.offsets, strict=True))
        if number in tokens.special and start >= behind
    ]
    if not ends:
        raise UserError("its chat template writes no special token after an answer, so none would end; put one there")
    form = form.model_copy(update={"end": whole.ids[ends[0]]})
    _, said = form.answers([asked, answered], tokens)
    if not said[ends[0]]:
        raise UserError(
            "its chat template ends {% generation %} before the mark after an answer, which would never be learned; "
            "put {% endgeneration %} behind it"
        )
    return form


def refuse_missing() -> None:
    """Raises UserError where a library is not installed that turns messages into text."""
    for name in ("jinja2", "transformers"):
        if find_spec(name) is None:
            raise UserError(f"a chat needs {name}, which is not installed: {install('ptapp-nlp', 'chat')}")


def fault_of(messages: object) -> str | None:
    """Why a value of JSON is no chat; None of one."""
    if not isinstance(messages, list) or not messages:
        return "`messages` is no list of messages"
    for number, message in enumerate(messages, start=1):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _ROLES:
            return f"message {number} has the role {role!r}; known are system, user and assistant"
        if not isinstance(text := message.get("content"), str) or not (text.strip() or role == "system"):
            return f"message {number} has no text as its content"
        if not is_unicode(text):
            return f"message {number} holds half of a surrogate pair, so it is no Unicode text"
        others = [key for key, value in message.items() if key not in ("role", "content") and value not in _NOTHING]
        if others:
            return f"message {number} has {others[0]!r}, which is not read; leave it out"
    return None


def only_read(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Messages without keys that hold nothing."""
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def asked_by(text: str) -> list[Message]:
    """The messages that are to be answered: those of `{"messages": [...]}`, or of any other text one of the user's.

    Raises UserError where a text that begins with a brace is no chat, the text is blank, or
    a chat ends with an answer.
    """
    if not text.lstrip().startswith("{"):
        if not text.strip():
            raise UserError("is empty; the run answers the message of a user, or a chat")
        return [{"role": "user", "content": text}]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = {}
    if not isinstance(found, dict) or "messages" not in found:
        raise UserError('begins with a brace and is no chat; give {"messages": [...]}, whose messages may begin so')
    if fault := fault_of(found["messages"]):
        raise UserError(fault)
    messages = only_read(found["messages"])
    if messages[-1]["role"] == ASSISTANT:
        raise UserError("ends with the assistant's answer, which the run is to write; leave it out")
    return messages
