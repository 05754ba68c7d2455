"""Text to token numbers and back, by the `tokenizers` library; trained on the training split alone, or BERT's own."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from tokenizers import Encoding, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from ptapp_core.errors import UserError
from ptapp_nlp.data.pairs import Text

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]
KINDS = ("word", "bpe", "wordpiece", "char")
_WORD = r"\w+(?:['\u2019]\w+)*|[^\w\s]"  # a word with its apostrophes, or one other character


_LOCK = Lock()


class Tokens:
    """A tokenizer, and what the models must know of it."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        unk: int | None = None,
        special: Sequence[int] | None = None,
        marks: tuple[int, int] | None = None,
    ) -> None:
        """`unk` and `special` are the numbers of those tokens, where the tokenizer does not tell them itself.

        `marks` are those before and after a written text, of a pretrained model that writes; None: [EOS] is both, and
        a translation begins after [BOS].
        """
        self.tokenizer, self.marks = tokenizer, marks
        padding = tokenizer.padding
        self.pad = padding["pad_id"] if padding else self._number("[PAD]", "<pad>", other=PAD)
        own = getattr(tokenizer.model, "unk_token", None)
        other = self.pad if marks is None else self.end  # a text without a token is read as that
        named = self._number(*([own] if own else []), "[UNK]", "<unk>", "[MASK]", "<mask>", other=other)
        self.unk = named if unk is None else unk
        added = tokenizer.get_added_tokens_decoder().items()
        own_special = {self.pad, self.unk, *(marks or ()), *(number for number, token in added if token.special)}
        self.special = sorted(own_special) if special is None else list(special)
        """The numbers of padding, of the unknown token, and of the marks around a text."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True  # a text may say [PAD]; tokenizer.json does not keep this
        self._copies: dict[int, Tokenizer] = {}
        around = tokenizer.encode("").ids
        self._ends_texts = around[-1:] == [self.end]
        self.prefix: list[int] = around[: len(around) - self._ends_texts]
        """The marks that the tokenizer itself puts before a text."""

    def _number(self, *names: str, other: int) -> int:
        """The number of the first of these tokens that there is."""
        found = (self.tokenizer.token_to_id(name) for name in names)
        return next((number for number in found if number is not None), other)

    @classmethod
    def load(cls, path: Path, digest: str, *, marks: tuple[int, int] | None = None) -> "Tokens":
        """Reads a `tokenizer.json` of this SHA-256; raises UserError for any other file."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        if sha256(content).hexdigest() != digest:
            raise UserError(f"{path}: not the one that the model was trained with (SHA-256 differs); restore it")
        try:
            return cls.read(content.decode(), marks=marks)
        except Exception as error:  # the library raises nothing more special
            raise UserError(f"{path}: not a tokenizer ({str(error).splitlines()[0]})") from error

    @classmethod
    def of_export(cls, path: Path, about: Mapping[str, Any], *, marks: tuple[int, int] | None = None) -> "Tokens":
        """Reads the `tokenizer.json` of an export, whose card is `about`; raises UserError for any other file.

        The mark that `shipped` put before the text of a generator is left to whoever encodes one; `marks` are those of
        a translator.
        """
        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); export the run again") from error
        except Exception as error:  # the library raises nothing more special
            raise UserError(f"{path}: not a tokenizer ({str(error).splitlines()[0]}); export the run again") from error
        if marks is None and "not_text" in about:
            tokenizer.post_processor = None
        return cls(tokenizer, unk=about.get("empty"), special=about.get("not_text"), marks=marks)

    @classmethod
    def read(cls, text: str, *, marks: tuple[int, int] | None = None) -> "Tokens":
        """Makes tokens again from the text that `json` returned."""
        return cls(Tokenizer.from_str(text), marks=marks)

    @property
    def end(self) -> int:
        """The mark after a text."""
        return EOS if self.marks is None else self.marks[1]

    @property
    def start(self) -> int:
        """The mark that a translation begins after."""
        return BOS if self.marks is None else self.marks[0]

    @cached_property
    def special_names(self) -> list[str]:
        """The names of the tokens that are no text."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        return [token.content for token in added if token.special]

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return int(self.tokenizer.get_vocab_size())

    def show(self, number: int) -> str:
        """A token as one reads it."""
        return str(self.tokenizer.decode([number], skip_special_tokens=False)).strip() or "\u2423"

    def json(self) -> str:
        """What a run's `tokenizer.json` holds: the padding too, but no limit."""
        self.tokenizer.enable_padding(pad_id=self.pad, pad_token=self.tokenizer.id_to_token(self.pad))
        text = str(self.tokenizer.to_str(pretty=True))
        self.tokenizer.no_padding()
        return text

    @property
    def digest(self) -> str:
        """The SHA-256 of the file that holds what `json` gives."""
        return sha256(self.json().encode()).hexdigest()

    def mark_pairs(self) -> None:
        """Puts an end mark, which no text has, between the two texts of a pair; what stands before and after a text
        stays there, and single texts are as they were."""
        encoding = self.tokenizer.encode("a")
        text = [place for place, whose in enumerate(encoding.sequence_ids) if whose is not None]
        before, after = encoding.ids[: text[0]], encoding.ids[text[-1] + 1 :]
        marks = [
            {"id": f"MARK{number}", "ids": [number], "tokens": [self.tokenizer.id_to_token(number)]}
            for number in {*before, *after, self.end}
        ]
        begin, end = "".join(f"MARK{number} " for number in before), "".join(f" MARK{number}" for number in after)
        self.tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin}$A{end}", pair=f"{begin}$A MARK{self.end} $B:1{end}", special_tokens=marks
        )
        self._copies.clear()

    def pair_marks(self) -> tuple[int, int | None]:
        """How many marks a pair has, and the one whose first occurrence ends the first text and its segment; None where
        the tokenizer gives both texts one segment.

        Raises UserError where nothing stands between the texts, a text may hold what does, or the segments are others.
        """
        encoding = self._cutting(sys.maxsize).encode("a", "a")
        whose, ids, kinds = encoding.sequence_ids, encoding.ids, encoding.type_ids
        second = whose.index(1) if 1 in whose else 0
        between = [ids[place] for place in range(second) if whose[place] is None and 0 in whose[:place]]
        if not between:
            raise UserError("its tokenizer puts no mark between the two texts of a pair; give another encoder")
        for mark in between:
            name = self.tokenizer.id_to_token(mark)
            spelled = self._cutting(sys.maxsize).encode(name)
            text = [number for number, own in zip(spelled.ids, spelled.sequence_ids, strict=True) if own is not None]
            if mark in text:
                raise UserError(f"its tokenizer takes {name} in a text for its mark between the texts of a pair")
        usual = [int(place >= second) for place in range(len(ids))]
        if any(kinds) and (kinds != usual or ids.index(between[-1]) != second - 1):
            raise UserError("its tokenizer has other segments than 0 for the first text of a pair and 1 for the second")
        return whose.count(None), between[-1] if any(kinds) else None

    def begin(self, per: str) -> int:
        """The token that a written text begins after: the end of another, or in running text (per `file`) of a line; a
        decoder has a mark for it."""
        if self.marks is not None:
            return self.marks[0]
        if per != "file":
            return EOS
        return self.encode(["\n"], 1)[0][0]

    def shipped(self, limit: int | None, *, eos: bool = False, begin: int | None = None) -> str:
        """A `tokenizer.json` that any program reads as this one does: with marks, a limit and padding.

        A special token's name in a text is text there too.

        Args:
            limit: the most tokens, marks among them; None: it does not cut.
            eos: an end mark goes after each text.
            begin: this token goes before each text, which keeps its last tokens and not its first.
        """
        own = Tokenizer.from_str(self.json())
        if (eos and not self._ends_texts) or begin is not None:
            number = self.end if begin is None else begin
            mark = {"id": "MARK", "ids": [number], "tokens": [own.id_to_token(number)]}
            single = "$A MARK" if begin is None else "MARK $A"
            own.post_processor = processors.TemplateProcessing(single=single, special_tokens=[mark])
        if limit is not None:
            own.enable_truncation(limit, direction="right" if begin is None else "left")
        content = json.loads(own.to_str())
        model = set(own.get_vocab(with_added_tokens=False).values())
        content["added_tokens"] = [
            # One that the model has not keeps its number under a name that no text has: U+FFFF is no character.
            {**token, "content": f"\uffff{token['content']}"} if token["special"] else token
            for token in content["added_tokens"]
            if not (token["special"] and token["id"] in model)
        ]
        return json.dumps(content, ensure_ascii=False, indent=1)

    def encode(self, texts: Sequence[Text], limit: int, *, eos: bool = False, bos: bool = False) -> list[list[int]]:
        """Token numbers of each text or pair, at most `limit` of them, at least one; `start` and `end` go around them
        with `bos` and `eos`.

        Of a pair that is cut, the longer text loses tokens until both are of one length.
        """
        added = eos and not self._ends_texts
        rows = [encoding.ids for encoding in self._cutting(limit - bos - added).encode_batch_fast(list(texts))]
        return [[self.start] * bos + (row or [self.unk] * (not eos)) + [self.end] * added for row in rows]

    def parts(self, texts: Sequence[Text]) -> Iterator[tuple[list[int], list[int], list[int]]]:
        """The marks before each text, its token numbers in full, and the marks after it."""
        for encoding in self._cutting(sys.maxsize).encode_batch_fast(list(texts)):
            text = [place for place, whose in enumerate(encoding.sequence_ids) if whose is not None]
            first, stop = (text[0], text[-1] + 1) if text else (len(encoding.ids), len(encoding.ids))
            yield encoding.ids[:first], encoding.ids[first:stop], encoding.ids[stop:]

    def encode_marked(self, text: str) -> Encoding:
        """A text, without marks around it, in which the name of a mark is that mark, as in the text of a template."""
        return self._marked.encode(text, add_special_tokens=False)

    @cached_property
    def _marked(self) -> Tokenizer:
        return Tokenizer.from_str(self.tokenizer.to_str())

    def unknown(self, texts: Sequence[str]) -> tuple[int, int]:
        """How many tokens of the texts are the unknown one, and for how many bytes of UTF-8 these stand."""
        count = size = 0
        for text, encoding in zip(texts, self._cutting(sys.maxsize).encode_batch(list(texts)), strict=True):
            for number, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
                if number == self.unk:
                    count, size = count + 1, size + len(text[start:stop].encode())
        return count, size

    def encode_words(self, sentence: Sequence[str], limit: int) -> tuple[list[int], list[int]]:
        """Token numbers of words, and the place of each word's first token: -1 for a word beyond the limit, or of no
        token, such as a lone control character."""
        encoding = self._cutting(limit).encode(list(sentence), is_pretokenized=True)
        first = [-1] * len(sentence)
        for place, word in enumerate(encoding.word_ids):
            if word is not None and first[word] < 0:
                first[word] = place
        return encoding.ids or [self.unk], first

    def sizes(self, words: Sequence[str]) -> tuple[list[int], int]:
        """How many tokens each word of a sentence has, and how many marks go around it."""
        encoding = self._cutting(sys.maxsize).encode(list(words), is_pretokenized=True)
        sizes = [0] * len(words)
        for word in encoding.word_ids:
            if word is not None:
                sizes[word] += 1
        return sizes, len(encoding.ids) - sum(sizes)

    def numbers(self, words: Sequence[str]) -> list[int]:
        """The number of each word; the tokens are those of `learn_words`."""
        ids: list[int] = self.tokenizer.encode(list(words), is_pretokenized=True).ids
        return ids

    def _cutting(self, limit: int) -> Tokenizer:
        """A tokenizer that cuts at a limit: one for each, for the limit is its state, and threads share it."""
        with _LOCK:
            if limit not in self._copies:
                copy = Tokenizer.from_str(self.tokenizer.to_str())
                copy.encode_special_tokens = True
                copy.enable_truncation(limit)
                self._copies[limit] = copy
            return self._copies[limit]

    def decode(self, rows: Iterable[Sequence[int]], *, strip: bool = True) -> list[str]:
        """The texts of token numbers, without the special ones, and without blanks around them."""
        texts = self.tokenizer.decode_batch([[number for number in row if number not in self.special] for row in rows])
        return [text.strip() if strip else text for text in texts]


def whole_lengths(task: str, texts: Sequence[Any], tokens: Tokens, *, target: bool = False) -> list[int]:
    """How many tokens each text has in full, with its marks: strings, pairs of them, or of a tagger lists of words.

    `target`: they are what a translator writes, which begins with a mark too.
    """
    if task == "tag":
        return [len(tokens.encode_words(words, sys.maxsize)[0]) for words in texts]
    return [len(row) for row in tokens.encode(texts, sys.maxsize, eos=task == "translate", bos=target)]


def learn(kind: str, texts: Iterable[str], size: int, *, lower: bool, least: int = 2, running: bool = False) -> Tokens:
    """A tokenizer of a kind, of at most `size` tokens, from texts; a word or character counts if seen `least` times.

    `running` (bpe, char): the texts are lines of one text, and end in line breaks, which are tokens of their own.
    """
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE(unk_token=None))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        if running:  # a line is then read alike alone and within a text
            breaks = pre_tokenizers.Split("\n", "isolated")
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [breaks, pre_tokenizers.ByteLevel(add_prefix_space=False)]
            )
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
    elif kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False)
    else:
        tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
        pattern, how = (_WORD, "isolated") if kind == "word" else (r"[\s\S]", "isolated")
        parts: list[Any] = [pre_tokenizers.Split(Regex(pattern), how)]
        if kind == "word":
            parts.insert(0, pre_tokenizers.WhitespaceSplit())
        else:
            tokenizer.decoder = decoders.Fuse()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
        trainer = trainers.WordLevelTrainer(
            vocab_size=size, special_tokens=SPECIAL, min_frequency=least, show_progress=False
        )
    unicode = [normalizers.NFC(), *([normalizers.Lowercase()] if lower else [])]
    tokenizer.normalizer = normalizers.Sequence(unicode)
    tokenizer.train_from_iterator(texts, trainer)
    return Tokens(tokenizer)


def learn_words(sentences: Iterable[Sequence[str]], size: int, *, lower: bool, least: int) -> Tokens:
    """A token for each word of sentences that are words already, of at most `size` tokens; a word counts if seen
    `least` times. A digit is as good as any other (Collobert et al. 2011): all of them are 0."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    parts: list[Any] = [normalizers.NFC(), normalizers.Replace(Regex(r"\d"), "0")]
    tokenizer.normalizer = normalizers.Sequence([*parts, *([normalizers.Lowercase()] if lower else [])])
    trainer = trainers.WordLevelTrainer(
        vocab_size=size, special_tokens=SPECIAL, min_frequency=least, show_progress=False
    )
    tokenizer.train_from_iterator((list(words) for words in sentences), trainer)
    return Tokens(tokenizer)
