"""A text as a model writes it, token by token, up to a string that ends it. No torch."""

from collections.abc import Callable, Sequence

from tokenizers.decoders import DecodeStream

from ptapp_nlp.data.tokens import Tokens


class Said:
    """A text that begins with a prompt.

    Args:
        prompt: the numbers of its tokens.
        stop: the text ends before the first of these that occurs behind the prompt.
        strip: blanks around the text are no part of it.
        tell: is given each piece of the text once no later token can change it, the prompt first.
    """

    def __init__(
        self,
        tokens: Tokens,
        prompt: Sequence[int],
        *,
        stop: Sequence[str] = (),
        strip: bool,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._tokens, self._row, self._stop, self._strip, self._tell = tokens, list(prompt), stop, strip, tell
        self._stream = DecodeStream(ids=[number for number in prompt if number not in tokens.special])
        (self._text,) = tokens.decode([prompt], strip=False)
        self._begun, self._told, self._stopped = len(self._text), 0, False
        self._pass_on(self._settled())

    def take(self, number: int) -> bool:
        """The next token; returns whether the text ends before it."""
        self._row.append(number)
        piece = None if number in self._tokens.special else self._stream.step(self._tokens.tokenizer, number)
        if not piece:  # a part of a character
            return False
        behind = max(len(self._text) + 1 - max(map(len, self._stop), default=0), self._begun)
        self._text += piece
        ends = [place for stop in self._stop if (place := self._text.find(stop, behind)) >= 0]
        if ends:
            self._text, self._stopped = self._text[: min(ends)], True
        self._pass_on(self._settled())
        return self._stopped

    def whole(self) -> str:
        """The text, of which no more comes."""
        if not self._stopped:
            (self._text,) = self._tokens.decode([self._row], strip=False)  # with a character of which a part is missing
        text = self._text.strip() if self._strip else self._text
        self._pass_on(text)
        return text

    def _settled(self) -> str:
        """The beginning of the text that stays: what follows may be the beginning of a stop string, or blanks at the
        end."""
        text = self._text.lstrip() if self._strip else self._text
        held = [size for stop in self._stop for size in range(1, len(stop)) if text.endswith(stop[:size])]
        text = text[: len(text) - max(held, default=0)]
        return text.rstrip() if self._strip else text

    def _pass_on(self, text: str) -> None:
        if self._tell is not None and len(text) > self._told:
            self._tell(text[self._told :])
            self._told = len(text)
