"""What people send: raw bytes, forms with several files, JSON; and the answers of `predict --json` to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.running import Running, picture, serving, write_model

FORM = "multipart/form-data; boundary=B"


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A model of each kind of input, by its name."""
    folder = tmp_path_factory.mktemp("kinds")
    for takes in ("image", "audio", "text", "pair", "observation"):
        write_model(folder / "models" / takes / "7", takes=takes)
    with serving(folder, folder / "models") as server:
        yield server


def sent(server: Running, name: str, content: bytes, content_type: str) -> Any:
    answer = server.post(f"/models/{name}/predict", content=content, headers={"content-type": content_type})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(server: Running, name: str, content: bytes | None, content_type: str | None, status: int = 400) -> str:
    headers = {"content-type": content_type} if content_type else {}
    answer = server.post(f"/models/{name}/predict", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert "\n" not in answer.json()["error"]
    return str(answer.json()["error"])


def classes(answer: Any) -> list[str]:
    return [each["class"] for each in answer["answers"]]


@pytest.mark.parametrize("name", ["image", "audio"])
def test_a_file_is_answered_from_its_bytes(all_kinds: Running, name: str) -> None:
    for content_type in (f"{name}/x-any", f"{name.upper()}/Y; q=1", "application/octet-stream"):
        answer = sent(all_kinds, name, picture(1, 9, 3), content_type)
        assert (answer["model"], answer["version"]) == (name, "7")
        (found,) = answer["answers"]
        assert found["class"] == "b"
        assert found["probabilities"]["b"] == found["confidence"] == pytest.approx(1, abs=0.01)
        assert "file" not in found


def test_several_files_are_answered_in_their_order_with_their_names(all_kinds: Running) -> None:
    files = [("file", ("one.toy", picture(1, 2, 3))), ("x", ("two.toy", picture(3, 2, 1))), ("file", ("", b""))][:2]
    answer = all_kinds.post("/models/image/predict", files=files).json()
    assert [(each["file"], each["class"]) for each in answer["answers"]] == [("one.toy", "c"), ("two.toy", "a")]


def test_texts_and_observations_come_as_json(all_kinds: Running) -> None:
    texts = all_kinds.post("/models/text/predict", json={"texts": ["1 2 3", "3 2 1"]}).json()
    assert classes(texts) == ["c", "a"]
    observations = all_kinds.post("/models/observation/predict", json={"observations": [[1, 2.5, 0]]}).json()
    assert classes(observations) == ["b"]
    assert classes(sent(all_kinds, "text", b"4 2 3", "text/plain")) == ["a"]
    assert classes(all_kinds.post("/models/text/predict", files=[("f", ("a.txt", b"1 2 3"))]).json()) == ["c"]


def test_pairs_come_as_lists_as_objects_or_with_a_tab(all_kinds: Running) -> None:
    both = [["1", "2 3"], {"text": "3 2", "pair": "1"}]
    assert classes(all_kinds.post("/models/pair/predict", json={"pairs": both}).json()) == ["c", "a"]
    assert classes(sent(all_kinds, "pair", b"1 2\t3", "text/plain")) == ["c"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"texts": ["a"]}', 'the body must be {"pairs": [...]}'),
        (b'{"pairs": ["a"]}', '"pairs" must be a list of pairs'),
        (b'{"pairs": [["1", "2 3"], ["a"]]}', 'pairs[1]: give ["first", "second"]'),
        (b'{"pairs": [["a", 1]]}', 'pairs[0]: give ["first", "second"]'),
        (b'{"pairs": [["a", ["b"]]]}', 'pairs[0]: give ["first", "second"]'),
        (b'{"pairs": [{"text": "a"}]}', 'pairs[0]: give ["first", "second"]'),
        (b'{"pairs": [["a", "\\ud800"]]}', "pairs[0]: not Unicode text ("),
    ],
)
def test_what_is_no_pair_is_refused_in_one_line(all_kinds: Running, content: bytes, reason: str) -> None:
    assert refusal(all_kinds, "pair", content, "application/json").startswith(reason)


def test_options_go_to_the_answers_and_unknown_ones_are_refused(all_kinds: Running) -> None:
    content = {"texts": ["1 2 9"], "options": {"rounded": True}}
    (answer,) = all_kinds.post("/models/text/predict", json=content).json()["answers"]
    assert answer["probabilities"] == {"a": 0, "b": 0, "c": 1}
    wrong = b'{"texts": ["1 2 9"], "options": {"round": true}}'
    assert refusal(all_kinds, "text", wrong, "application/json") == "unknown option 'round'; did you mean 'rounded'?"


def test_a_version_can_be_asked_for(toy: Running) -> None:
    for version, expected in (("1", "c"), ("2", "a")):
        path = f"/models/toy/versions/{version}/predict"
        answer = toy.post(path, content=picture(1, 2, 3), headers={"content-type": "image/toy"}).json()
        assert (answer["version"], classes(answer)) == (version, [expected])


def test_a_body_that_the_model_does_not_take_is_refused_with_those_that_it_does(all_kinds: Running) -> None:
    of_image = "this model takes a body of image/* or application/octet-stream or multipart/form-data: "
    of_image += "give such a Content-Type"
    for content_type in ("audio/wav", "application/json", "application/x-www-form-urlencoded", "image", "", None):
        assert refusal(all_kinds, "image", picture(1, 2, 3), content_type, 415) == of_image
    assert "takes a body of application/json" in refusal(all_kinds, "observation", b"", "text/plain", 415)
    assert "text/plain or application/json or multipart" in refusal(all_kinds, "text", b"", "image/png", 415)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the body is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[1", "the body is not JSON: "),
        (b"\xff\xfe{", "the body is not JSON: "),
        (b'{"texts": [NaN]}', "the body is not JSON: NaN is no number of JSON"),
        (b"[" * 100_000, "the body is not JSON: "),
        (b"[]", 'the body must be {"texts": [...]}'),
        (b'{"texts": "a"}', 'the body must be {"texts": [...]}'),
        (b'{"texts": []}', "the body has no sample"),
        (b'{"texts": ["1 2 3", 4]}', '"texts" must be a list of texts'),
        (b'{"texts": ["1 2 3"], "txt": 1}', "unknown key 'txt'"),
        (b'{"texts": ["1 2 3"], "options": []}', '"options" must be an object'),
        (b'{"texts": ["\\ud800"]}', "texts[0]: not Unicode text ("),
        (b'{"texts": ["1 2 3", "1 2"]}', "texts[1]: not three finite numbers"),
        (b'{"texts": [' + b'"1 2 3",' * 256 + b'"1 2 3"]}', "257 samples: a request may have 256"),
    ],
)
def test_broken_json_is_refused_in_one_line(all_kinds: Running, content: bytes, reason: str) -> None:
    assert refusal(all_kinds, "text", content, "application/json").startswith(reason)


PART = b'--B\r\nContent-Disposition: form-data; name="f"; filename="a.toy"\r\n\r\n' + picture(1, 2, 3)


@pytest.mark.parametrize(
    ("content_type", "content", "reason"),
    [
        ("multipart/form-data", b"", "the form cannot be read: No boundary given"),
        (FORM, b"", "the form cannot be read: it ends before its last boundary"),
        (FORM, b"nonsense", "the form cannot be read: "),
        (FORM, PART + b"\r\n", "the form cannot be read: it ends before its last boundary"),
        (FORM, PART + b"\r\n" + PART, "the form cannot be read: it ends before its last boundary"),
        (FORM, b"--B--\r\n", "the "),
        (FORM, b'--B\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n--B--\r\n', "a field that is no file"),
        (FORM, b"--B\r\n\r\nx\r\n--B--\r\n", "the form cannot be read: Field name not found"),
        (FORM, (PART + b"\r\n") * 257 + b"--B--\r\n", "the form cannot be read: more than 256 files"),
        (FORM, PART.replace(b"TOY", b"NOT") + b"\r\n--B--\r\n", "a.toy: not a toy picture"),
    ],
)
def test_a_broken_form_is_refused_in_one_line(
    all_kinds: Running, content_type: str, content: bytes, reason: str
) -> None:
    assert reason in refusal(all_kinds, "image", content, content_type)


def test_an_answer_that_is_not_finite_is_refused(all_kinds: Running) -> None:
    reason = "the model's answer to this is not a finite number"
    assert refusal(all_kinds, "text", b"1e40 2 3", "text/plain") == reason


def test_the_name_of_a_file_is_shown_without_its_folders_and_odd_characters(all_kinds: Running) -> None:
    head = b'--B\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\n\r\nno\r\n--B--\r\n'
    for name, shown in ((b"../../etc/pass\x1bwd", "pass\ufffdwd"), (b"C:\\\\a\\\\b.png", "b.png"), (b"", "file 0")):
        assert refusal(all_kinds, "image", head % name, FORM) == f"{shown}: not a toy picture"


def test_a_model_that_is_not_there_is_named_with_those_that_are(all_kinds: Running, tmp_path: Path) -> None:
    assert refusal(all_kinds, "imago", b"", None, 404) == "there is no model 'imago'; did you mean 'image'?"
    answer = all_kinds.post("/models/image/versions/8/predict", content=b"")
    assert (answer.status_code, answer.json()) == (404, {"error": "image has no version '8'; known: 7"})
    for path in ("/nowhere", "/models/image/predict/", "/v2/", "/static/../../etc/passwd"):
        assert all_kinds.get(path).json() == {"error": "Not Found"}
    assert all_kinds.get("/predict").status_code == 405
    assert all_kinds.get("/predict").json() == {"error": "Method Not Allowed"}
