"""`predict` over HTTP: from what people send (photos, recordings, texts, observations) to the contents of samples."""

import json
from dataclasses import dataclass, field
from inspect import Parameter, signature
from pathlib import PurePath
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, FormParser, parse_options_header
from starlette.exceptions import HTTPException

from ptapp_core.errors import UserError, counted, nearest, one_line
from ptapp_core.serve.front import Front, Streaming, Tell
from ptapp_core.serve.protocol import MOST, parsed
from ptapp_core.serve.session import Model

_JSON, _FORM, _BYTES = "application/json", "multipart/form-data", "application/octet-stream"
_LISTS = {"text": "texts", "pair": "pairs", "observation": "observations"}
_PAIR = ("text", "pair")
"""The keys of the two texts of a pair that is given as an object."""
_NAME_LENGTH = 100


@dataclass
class Contents:
    """What a request brings: the content of each sample with a name for it, and options of the answer."""

    samples: list[tuple[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    """Whether the answers are wanted piece by piece."""
    files: bool = False
    """Whether the names are those of files, which the answers repeat."""


def accepted(takes: str) -> list[str]:
    """The content types of a body for a front that takes such samples."""
    match takes:
        case "observation":
            return [_JSON]
        case "text" | "pair":
            return ["text/plain", _JSON, _FORM]
    return [f"{takes}/*", _BYTES, _FORM]


def read_contents(content_type: str, body: bytes, front: Front) -> Contents:
    """The contents of the samples of a body.

    Raises:
        HTTPException: 415, the model does not take such a body.
        UserError: it is broken, empty, or has more samples than a request may have.
    """
    kind = parse_options_header(content_type)[0].decode("latin-1").lower()
    takes, known = front.takes, accepted(front.takes)
    if kind not in known and not (f"{takes}/*" in known and kind.startswith(f"{takes}/")):
        raise HTTPException(415, f"this model takes a body of {' or '.join(known)}: give such a Content-Type")
    if kind == _FORM:
        contents = Contents(_files(content_type, body), files=True)
    elif kind == _JSON:
        contents = _json(parsed(body), _LISTS[takes])
    else:
        contents = Contents([("the body", body)])
    if not contents.samples:
        raise UserError("the body has no sample: no file, text or observation")
    if len(contents.samples) > MOST:
        raise UserError(f"{counted(len(contents.samples), 'sample')}: a request may have {MOST}")
    if takes in ("text", "pair"):
        contents.samples = [
            (name, _pair(content, name) if isinstance(content, list | dict) else _text(content, name))
            for name, content in contents.samples
        ]
    return contents


def _pair(content: list[Any] | dict[str, Any], name: str) -> list[str]:
    texts: list[Any] = content if isinstance(content, list) else [content.get(key) for key in _PAIR]
    others = isinstance(content, dict) and content.keys() - set(_PAIR)
    if others or len(texts) != 2 or not all(isinstance(text, str) for text in texts):
        raise UserError(f'{name}: give ["first", "second"], or {{"text": "first", "pair": "second"}}')
    return [_text(text, name) for text in texts]


def _text(content: str | bytes, name: str) -> str:
    try:
        text = content if isinstance(content, str) else content.decode()
        text.encode()
    except UnicodeError as error:  # JSON can escape a half of a surrogate pair
        raise UserError(f"{name}: not Unicode text ({one_line(error)})") from error
    return text


def _json(value: Any, key: str) -> Contents:
    if not isinstance(value, dict) or not isinstance(value.get(key), list):
        raise UserError(f'the body must be {{"{key}": [...]}}')
    known = [key, "options", "stream"]
    for other in value.keys() - set(known):
        raise UserError(f"unknown key {other!r}{nearest(other, known)}")
    options = value.get("options", {})
    if not isinstance(options, dict):
        raise UserError('"options" must be an object')
    stream = value.get("stream", False)
    if not isinstance(stream, bool):
        raise UserError('"stream" must be true or false')
    if key == "texts" and not all(isinstance(text, str) for text in value[key]):
        raise UserError('"texts" must be a list of texts')
    if key == "pairs" and not all(isinstance(pair, list | dict) for pair in value[key]):
        raise UserError('"pairs" must be a list of pairs: ["first", "second"]')
    return Contents([(f"{key}[{place}]", each) for place, each in enumerate(value[key])], options, stream)


def _files(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    """The files of a form, each with its name; fields that are no files are refused."""
    found: list[tuple[str, bytes]] = []
    ends: list[bool] = []

    def on_file(file: File) -> None:
        if len(found) == MOST:
            raise FormParserError(f"more than {MOST} files")
        file.file_object.seek(0)
        found.append((_file_name(file.file_name, len(found)), file.file_object.read()))
        file.close()

    def on_field(part: Any) -> None:
        raise FormParserError("a field that is no file; curl -F file=@NAME sends one")

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    config = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    try:
        parser = FormParser(_FORM, on_field, on_file, lambda: ends.append(True), boundary=boundary, config=config)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise UserError(f"the form cannot be read: {one_line(error)}") from error
    if not ends:
        raise UserError("the form cannot be read: it ends before its last boundary")
    return found


def _file_name(given: bytes | None, place: int) -> str:
    """The last part of a file's name, as it may stand in a message."""
    text = PurePath((given or b"").decode(errors="replace").replace("\\", "/")).name
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return shown[:_NAME_LENGTH] or f"file {place}"


def check_options(options: dict[str, Any], front: Front) -> None:
    """Raises UserError for an option that the answers of a front do not have."""
    known = [name for name, each in signature(front.answers).parameters.items() if each.kind is Parameter.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise UserError(f"unknown option {name!r}" + (nearest(name, known) if known else ": this model has none"))


def seed_of(body: bytes) -> int:
    """The seed of the episode that a body asks for, `{"seed": 0}`; an empty body asks for that of 0.

    Raises UserError for another body.
    """
    value = parsed(body) if body else {}
    seed = value.get("seed", 0) if isinstance(value, dict) and value.keys() <= {"seed"} else None
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise UserError('the body must be {"seed": a whole number from 0 to 2147483647}')
    return seed


def may_stream(body: bytes) -> bool:
    """Whether a body may ask for an answer piece by piece; whether it does, `read_contents` says."""
    return b'"stream"' in body


def answer(model: Model, content_type: str, body: bytes, *, tell: Tell | None = None) -> list[dict[str, Any]]:
    """The answers to a body, as `predict --json` gives them; those on files have their names.

    `tell` is given their pieces as they come, where the body asks for it.
    """
    contents = read_contents(content_type, body, model.front)
    check_options(contents.options, model.front)
    samples = [model.front.read(content, name) for name, content in contents.samples]
    if contents.stream:
        if not (isinstance(model.front, Streaming) and model.front.streams):
            raise UserError('"stream": the answers of this model come at once; leave it out')
        if tell:
            return model.front.streamed(model.compute, samples, tell, **contents.options)
    answers = model.front.answers(model.compute, samples, **contents.options)
    if not contents.files:
        return answers
    return [{"file": name, **each} for (name, _), each in zip(contents.samples, answers, strict=True)]


def as_json(answers: list[dict[str, Any]], model: str, version: str) -> bytes:
    """A line with the answers and what gave them, in UTF-8; lone surrogates, which it has no bytes for, are escaped.

    Raises UserError for an answer that is not finite.
    """
    content = {"model": model, "version": version, "answers": answers}
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise UserError("the model's answer to this is not a finite number") from error
    return f"{text}\n".encode(errors="backslashreplace")
