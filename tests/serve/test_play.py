"""An episode of a policy over HTTP: a picture a line, for one client at a time."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.running import Running, serving, until, write_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gate: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("play")
    write_model(folder / "models" / "held" / "1", takes="observation", plays=True, gate=str(gate))
    write_model(folder / "models" / "game" / "1", takes="observation", plays=True)
    write_model(folder / "models" / "text" / "1", takes="text")
    with serving(folder, folder / "models", "--threads", "1") as running:
        yield running


def test_each_step_is_a_line_and_the_end_is_the_return(server: Running) -> None:
    answer = server.post("/models/game/play", json={"seed": 1})
    assert answer.headers["content-type"] == "application/x-ndjson"
    *shown, end = map(json.loads, answer.text.splitlines())
    assert [line["return"] for line in shown] == [0.0, 1.0, 2.0]
    assert {line["rate"] for line in shown} == {50.0}
    assert all(base64.b64decode(line["picture"]).startswith(b"\xff\xd8") for line in shown)
    assert end == {"return": 2.0, "steps": 2}


def test_one_client_watches_at_a_time_and_others_are_answered_meanwhile(server: Running, gate: Path) -> None:
    with server.client() as client:
        with client.stream("POST", "/models/held/play") as response:
            lines = response.iter_lines()  # without a name it would end, and the client leave
            next(lines)
            assert server.post("/models/game/play").status_code == 503
            assert server.post("/models/game/predict", json={"observations": [[1, 2, 9]]}).status_code == 200
        gate.touch()
    until(lambda: server.post("/models/game/play").status_code == 200)


@pytest.mark.parametrize(
    ("model", "body", "reason"),
    [
        ("text", {}, "this server cannot show how this model plays"),
        ("game", {"seed": 7}, "the world of the toy is away"),
        ("game", {"seed": -1}, 'the body must be {"seed": a whole number from 0 to 2147483647}'),
        ("game", {"seed": True}, "the body must be"),
        ("game", {"speed": 1}, "the body must be"),
        ("game", [], "the body must be"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(server: Running, model: str, body: Any, reason: str) -> None:
    answer = server.post(f"/models/{model}/play", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(reason)
