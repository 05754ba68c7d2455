"""Answers piece by piece: each reaches the client while the next is computed; the end is what is answered at once."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ptapp_core.errors import UserError
from ptapp_core.serve.predicting import answer
from ptapp_core.serve.session import Model
from serve.running import Running, serving, until, write_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gate: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("stream")
    write_model(folder / "models" / "held" / "1", takes="text", streams=True, gate=str(gate))
    for takes in ("text", "pair", "observation"):
        write_model(folder / "models" / takes / "1", takes=takes, streams=takes == "text")
    with serving(folder, folder / "models", "--threads", "1") as running:
        yield running


def asked(server: Running, model: str, *texts: str) -> list[dict[str, Any]]:
    """The lines of an answer."""
    answer = server.post(f"/models/{model}/predict", json={"texts": texts, "stream": True})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in answer.headers
    return [json.loads(line) for line in answer.text.splitlines()]


def test_the_pieces_come_first_and_then_what_is_answered_at_once(server: Running) -> None:
    *pieces, end = asked(server, "text", "1 2 9", "9 2 1")
    told = [(0, "to be, "), (0, "or not"), (1, "to be, "), (1, "or not")]
    assert [(each["sample"], each["piece"]) for each in pieces] == told
    assert end == server.post("/models/text/predict", json={"texts": ["1 2 9", "9 2 1"]}).json()
    line = until(lambda: [line for line in server.log if line.get("samples") == 2])[0]
    assert (line["status"], line["model"], line["version"]) == (200, "text", "1")
    assert server.metric("ptapp_inference_predictions_total", model="text") == 4


def test_a_piece_is_there_before_the_next_is_computed_and_a_client_may_leave(server: Running, gate: Path) -> None:
    asking = {"texts": ["1 2 9"], "stream": True}
    with server.client() as client:
        with client.stream("POST", "/models/held/predict", json=asking) as response:
            assert json.loads(next(response.iter_lines())) == {"sample": 0, "piece": "to be, "}
            assert not gate.exists()
        gate.touch()  # only now the thread goes on, and finds that nobody reads
    assert asked(server, "held", "1 2 9")[-1]["answers"][0]["class"] == "c"  # by the only thread
    assert not [line for line in server.log if line.get("level") == "error"]


def test_what_goes_wrong_midway_is_the_last_line(server: Running) -> None:
    assert asked(server, "text", "0 0 0") == [
        {"sample": 0, "piece": "to be, "},
        {"error": "nothing can be said of zeros"},
    ]
    line = until(lambda: [line for line in server.log if "zeros" in line.get("reason", "")])[0]
    assert line["status"] == 400


def test_a_fault_midway_is_counted_and_found_by_the_id_that_the_client_was_told(server: Running) -> None:
    body, headers = {"texts": ["7 7 7"], "stream": True}, {"x-request-id": "sevens"}
    answer = server.post("/models/text/predict", json=body, headers=headers)
    assert json.loads(answer.text.splitlines()[-1]) == {
        "error": "a fault of the server, which its log describes (request sevens)"
    }
    (line,) = until(lambda: [line for line in server.log if line.get("request_id") == "sevens"])
    assert line["status"] == 500
    (fault,) = [line for line in server.log if "a fault of the toy" in line.get("traceback", "")]
    assert fault["message"].startswith("request sevens: ")
    assert server.metric("ptapp_inference_requests_total", model="text", code="500") == 1


@pytest.mark.parametrize(
    ("model", "body", "reason"),
    [
        ("text", {"texts": ["1 2"], "stream": True}, "texts[0]: not three finite numbers"),
        ("text", {"texts": ["1 2 3"], "stream": 1}, '"stream" must be true or false'),
        ("text", {"texts": ["1 2 3"], "stream": True, "options": {"x": 1}}, "unknown option 'x'"),
        ("observation", {"observations": [[1, 2, 3]], "stream": True}, '"stream": the answers of this model'),
    ],
)
def test_what_is_wrong_before_the_first_piece_is_refused(
    server: Running, model: str, body: dict[str, Any], reason: str
) -> None:
    answer = server.post(f"/models/{model}/predict", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(reason)


def test_a_body_that_names_the_key_and_does_not_set_it_is_answered_at_once(server: Running) -> None:
    answer = server.post("/models/text/predict", json={"texts": ["1 2 9"], "stream": False})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["answers"][0]["class"] == "c"


def test_a_front_that_cannot_tell_says_so() -> None:
    front = SimpleNamespace(takes="text", read=lambda content, name: content, answers=lambda compute, samples: [])
    model = cast(Model, SimpleNamespace(front=front, compute=None))
    with pytest.raises(UserError, match='"stream": the answers of this model come at once'):
        answer(model, "application/json", b'{"texts": ["a"], "stream": true}', tell=lambda sample, piece: None)
