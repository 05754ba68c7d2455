"""Several versions of a model: which one answers whom, what a shadow is told, and changes while requests come."""

import json
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ptapp_core.cli.main import main
from ptapp_core.errors import UserError
from ptapp_core.serve.shadow import compared
from ptapp_core.serve.split import chosen, pairs, read_shares, shares_of
from serve.running import Running, install_toy, picture, serving, until, write_model

pytestmark = pytest.mark.slow

TOY = {"content-type": "image/toy"}
CLIENTS = [f"client {number}" for number in range(4000)]


def test_clients_are_divided_by_their_shares_and_stay_where_they_are() -> None:
    shares = {"1": 90, "2": 10}
    found = {client: chosen(shares, "toy", client) for client in CLIENTS}
    expected, deviation = 0.1 * len(CLIENTS), (0.1 * 0.9 * len(CLIENTS)) ** 0.5
    assert abs(Counter(found.values())["2"] - expected) < 3 * deviation
    assert found == {client: chosen(dict(reversed(shares.items())), "toy", client) for client in CLIENTS}
    assert found != {client: chosen(shares, "other", client) for client in CLIENTS}


def test_a_share_that_grows_keeps_the_clients_that_it_had() -> None:
    before, after = ({"1": 100 - share, "2": share} for share in (10, 30))
    of_second = {client for client in CLIENTS if chosen(before, "toy", client) == "2"}
    assert of_second < {client for client in CLIENTS if chosen(after, "toy", client) == "2"}
    assert {chosen({"1": 100, "2": 0}, "toy", client) for client in CLIENTS} == {"1"}
    assert {chosen({"9": 50, "10": 50}, "toy", client) for client in CLIENTS} == {"9", "10"}


def test_an_option_says_several_models_and_each_in_several_parts() -> None:
    assert pairs(["a=1:90", "2:10", "b=3"], "--split") == {"a": "1:90,2:10", "b": "3"}
    assert shares_of("1:90, 2:10", "x") == {"1": 90, "2": 10}
    for texts, reason in ((["2:10"], "--split 2:10: write NAME=2:10"), (["a=1", "a=2"], "'a' is given twice")):
        with pytest.raises(UserError, match=reason):
            pairs(texts, "--split")


@pytest.mark.parametrize("text", ["1:90,2:5", "1", "1:x", "1:200,2:-100", "1:50,1:50", "", "1:1e2", "1:99.5,2:0.5"])
def test_shares_that_are_not_a_hundred_percent_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^--split: .*(percent|twice)|such as"):
        shares_of(text, "--split")


def test_a_split_file_says_what_the_option_says(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    file.write_text('{"1": 90, "2": 10}')
    assert read_shares(file) == {"1": 90, "2": 10}
    for text in ("", "[]", '{"1": "90"}', '{"1": 90}', '{"1": true}', "{}"):
        file.write_text(text)
        with pytest.raises(UserError, match="^" + str(file)):
            read_shares(file)


def test_answers_are_compared_in_all_but_their_decimals() -> None:
    one = [{"class": "a", "confidence": 0.75, "probabilities": {"a": 0.75, "b": 0.25}}]
    other = [{"class": "a", "confidence": 0.5, "probabilities": {"a": 0.5, "b": 0.5}}]
    assert compared(one, other) == (True, 0.25)
    assert compared(one, [{**other[0], "class": "b"}]) == (False, 0.25)
    assert compared(one, []) == (False, 0.0)
    assert compared({"a": 1}, {"b": 1}) == (False, 0.0)
    assert compared(["a"], ["a"]) == (True, 0.0)


def asked(server: Running, client: str = "someone", name: str = "toy") -> Any:
    answer = server.post(f"/models/{name}/predict", content=picture(1, 2, 3), headers={**TOY, "x-client-id": client})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_split_is_served_to_the_same_client_the_same_way(tmp_path: Path) -> None:
    for version, scale in ((1, 1.0), (2, -1.0)):
        write_model(tmp_path / "models" / "toy" / str(version), scale=scale)
    with serving(tmp_path, tmp_path / "models", "--split", "toy=1:50,2:50") as server:
        assert "toy (image): version 1 answers 50 %, version 2 answers 50 %" in server.said
        expected = {client: chosen({"1": 50, "2": 50}, "toy", client) for client in CLIENTS[:20]}
        assert set(expected.values()) == {"1", "2"}
        for _ in range(2):
            found = {client: asked(server, client) for client in expected}
            assert {client: answer["version"] for client, answer in found.items()} == expected
            assert all(
                answer["answers"][0]["class"] == {"1": "c", "2": "a"}[answer["version"]] for answer in found.values()
            )
        headers = {**TOY, "x-client-id": "someone"}
        of_address = {
            server.post("/predict", content=picture(1, 2, 3), headers=TOY).json()["version"] for _ in range(5)
        }
        assert of_address == {chosen({"1": 50, "2": 50}, "toy", "127.0.0.1")}
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
        inferred = server.post("/v2/models/toy/infer", json={"inputs": [tensor]}, headers=headers).json()
        assert inferred["model_version"] == asked(server)["version"]


def test_a_new_version_and_a_way_back_are_taken_up_while_no_request_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "toy"
    write_model(folder / "1")
    (folder / "split.json").write_text('{"1": 100}')
    versions: list[str] = []
    with serving(tmp_path, tmp_path / "models") as server:
        stop = threading.Event()

        def ask_on() -> None:
            with server.client() as client:
                while not stop.is_set():
                    answer = client.post("/predict", content=picture(1, 2, 3), headers=TOY)
                    versions.append(answer.json()["version"] if answer.status_code == 200 else answer.text)

        threads = [threading.Thread(target=ask_on) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: "1" in versions)
        write_model(folder / "2", scale=-1.0)
        until(lambda: server.get("/v2/models/toy").json()["versions"] == ["1", "2"])
        assert set(versions) == {"1"}
        for share in ('{"1": 0, "2": 100}', '{"1": 100}'):  # to the second version, and back
            (folder / "split.json").write_text(share)
            wanted = "2" if "0," in share else "1"
            until(lambda wanted=wanted: versions[-1] == wanted)  # type: ignore[misc]
        shutil.rmtree(folder / "2")
        until(lambda: server.get("/v2/models/toy").json()["versions"] == ["1"])
        stop.set()
        for thread in threads:
            thread.join()
        assert set(versions) == {"1", "2"}
        assert server.metric("ptapp_inference_requests_total", code="200") == len(versions)
        messages = [line["message"] for line in server.log if "message" in line]
        assert "toy (image): version 2 answers 100 %" in messages


def test_what_does_not_hold_together_is_not_taken_up_and_said_once(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "toy"
    write_model(folder / "1")
    write_model(tmp_path / "models" / "other" / "1")
    with serving(tmp_path, tmp_path / "models") as server:

        def complaints(part: str) -> list[str]:
            found = [line["message"] for line in server.log if part in line.get("message", "")]
            return found

        (folder / "split.json").write_text('{"2": 100}')
        until(lambda: complaints("toy stays as before: toy has no version '2'; known: 1"))
        write_model(folder / "3", domain="nowhere")
        until(lambda: complaints("which is not installed"))
        (folder / "split.json").write_text('{"1": 100}')
        shutil.rmtree(folder / "3")
        (folder / "4").mkdir()
        (folder / "4" / "model.onnx.json").write_text("{}")
        (folder / "4" / "model.onnx").write_text("half of a model")
        until(lambda: complaints("4/model.onnx.json names no domain"))
        write_model(folder / "4", scale=2.0)  # the copy has ended
        until(lambda: server.get("/v2/models/toy").json()["versions"] == ["1", "4"])
        assert asked(server)["version"] == "1"
        shutil.rmtree(tmp_path / "models" / "other")
        until(lambda: complaints("other is gone, and not served any more"))
        assert server.get("/v2/models/other").status_code == 404
        shutil.rmtree(tmp_path / "models")
        until(lambda: complaints("all models stay as before: "))
        assert asked(server)["version"] == "1"
        assert len(complaints("all models stay as before: ")) == 1


def test_a_shadow_is_compared_and_never_answers(tmp_path: Path) -> None:
    for version, scale in ((1, 1.0), (2, 1.5), (3, -1.0)):
        write_model(tmp_path / "models" / "same" / str(version), scale=scale)
        write_model(tmp_path / "models" / "other" / str(version), scale=scale)
    words = ["--split", "same=1:100", "--split", "other=1:100", "--shadow", "same=2,other=3", "--threads", "2"]
    with serving(tmp_path, tmp_path / "models", *words) as server:
        for name, result in (("same", "same"), ("other", "other")):
            answer = asked(server, name=name)
            assert (answer["version"], answer["answers"][0]["class"]) == ("1", "c")
            labels = {"model": name, "version": "1", "shadow": {"same": "2", "other": "3"}[name]}
            until(
                lambda labels=labels, result=result: server.metric(  # type: ignore[misc]
                    "ptapp_shadow_comparisons_total", **labels, result=result
                )
            )
            assert server.metric("ptapp_shadow_comparisons_total", **labels) == 1
            assert server.metric("ptapp_shadow_difference_count", **labels) == 1
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
            assert server.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}).json()["model_version"] == "1"
            until(
                lambda labels=labels, result=result: (
                    server.metric(  # type: ignore[misc]
                        "ptapp_shadow_comparisons_total", **labels, result=result
                    )
                    == 2
                )
            )
        assert server.metric("ptapp_inference_requests_total", version="2") == 0


def test_a_split_or_shadow_of_what_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in install_toy(tmp_path / "installed"):
        monkeypatch.syspath_prepend(place)
    write_model(tmp_path / "models" / "toy" / "1")
    for words, reason in (
        (["--split", "tox=1:100"], "--split and --shadow: there is no model 'tox'; did you mean 'toy'?"),
        (["--split", "toy=1:90,2:10"], "toy has no version '2'; known: 1"),
        (["--split", "toy=1:90"], "--split toy=1:90: the shares are whole percents from 0 to 100, and 100 together"),
        (["--shadow", "toy=5"], "toy has no version '5'; known: 1"),
        (["--shadow", "5"], "--shadow 5: write NAME=5"),
    ):
        assert main(["serve", str(tmp_path / "models"), *words]) == 2
        assert capsys.readouterr().err == f"ptapp: error: {reason}\n"
    (tmp_path / "models" / "toy" / "split.json").write_text(json.dumps({"1": 50}))
    assert main(["serve", str(tmp_path / "models")]) == 2
    assert "split.json: the shares are whole percents" in capsys.readouterr().err
