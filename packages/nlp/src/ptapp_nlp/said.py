"""A text as a model writes it, token by token, up to a string that ends it. No torch."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ptapp_core.errors import UserError

if TYPE_CHECKING:
    from ptapp_nlp.data.tokens import Tokens

LONGEST_STOP = 100
"""Characters of a string that ends a text: each token is compared with all of its beginnings."""


class Said:
    """A text that begins with a prompt.

    Args:
        prompt: the numbers of its tokens.
        stop: the text ends before the first of these that occurs behind the prompt.
        strip: blanks around the text are no part of it.
        tell: is given each piece of the text once no later token can change it, the prompt first.

    Raises UserError for an empty string in `stop`, and for one of more than `LONGEST_STOP` characters.
    """

    def __init__(
        self,
        tokens: "Tokens",
        prompt: Sequence[int],
        *,
        stop: Sequence[str] = (),
        strip: bool,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        if not all(0 < len(text) <= LONGEST_STOP for text in stop):
            raise UserError(f"stop: each string must have 1 to {LONGEST_STOP} characters")
        self._tokens, self._row, self._stop, self._strip, self._tell = tokens, list(prompt), stop, strip, tell
        (self._text,) = tokens.decode([prompt], strip=False)
        self._since, self._read = 0, len(prompt)  # tokens to read again, and those whose text is known
        self._begun, self._told, self._stopped = len(self._text), 0, False
        self._pass_on(self._settled())

    def take(self, number: int) -> bool:
        """The next token; returns whether the text ends before it."""
        self._row.append(number)
        piece = self._unread()
        if piece and not piece.endswith("\ufffd"):  # which may be a part of a character
            self._add(piece)
            self._pass_on(self._settled())
        return self._stopped

    def whole(self) -> str:
        """The text, of which no more comes."""
        if not self._stopped:
            self._add(self._unread())  # with a character of which a part is missing
        text = self._text.strip() if self._strip else self._text
        self._pass_on(text)
        return text

    def _unread(self) -> str:
        """The text of the tokens since the latest piece, which some decoders need before them."""
        known, text = self._tokens.decode([self._row[self._since : self._read], self._row[self._since :]], strip=False)
        return text[len(known) :]

    def _add(self, piece: str) -> None:
        """Lengthens the text up to a stop string."""
        behind = max(len(self._text) + 1 - max(map(len, self._stop), default=0), self._begun)
        self._text += piece
        self._since, self._read = self._read, len(self._row)
        ends = [place for stop in self._stop if (place := self._text.find(stop, behind)) >= 0]
        if ends:
            self._text, self._stopped = self._text[: min(ends)], True

    def _settled(self) -> str:
        """The beginning of the text that stays: what follows may be the beginning of a stop string, or blanks at the
        end."""
        text, most = self._text.lstrip() if self._strip else self._text, len(self._text) - self._begun
        held = [
            size for stop in self._stop for size in range(1, min(len(stop), most + 1)) if text.endswith(stop[:size])
        ]
        text = text[: len(text) - max(held, default=0)]
        return text.rstrip() if self._strip else text

    def _pass_on(self, text: str) -> None:
        if self._tell is not None and len(text) > self._told:
            self._tell(text[self._told :])
            self._told = len(text)
