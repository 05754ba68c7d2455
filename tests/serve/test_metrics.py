"""What Prometheus reads, the access log, and the rules and dashboard that go with them."""

import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from serve.running import Running, picture, until

TOY = {"content-type": "image/toy"}
SHIPPED = resources.files("ptapp_core.serve") / "monitoring"


def test_requests_are_counted_by_model_version_and_code(toy: Running) -> None:
    def count(**labels: str) -> float:
        return toy.metric("ptapp_inference_requests_total", **labels)

    before = {code: count(code=code) for code in ("200", "400", "404")}
    for version in ("1", "2"):
        path = f"/models/toy/versions/{version}/predict"
        of_version = count(model="toy", version=version, code="200")
        assert toy.post(path, content=picture(1, 2, 3), headers=TOY).status_code == 200
        assert count(model="toy", version=version, code="200") == of_version + 1
    assert toy.post("/predict", content=b"", headers=TOY).status_code == 400
    for name in ("x", "y" * 1000):  # a name from outside is no label
        assert toy.post(f"/models/{name}/predict").status_code == 404
    after = {code: count(code=code) for code in before}
    assert after == {"200": before["200"] + 2, "400": before["400"] + 1, "404": before["404"] + 2}
    assert "yyy" not in toy.get("/metrics").text
    assert count(model="", version="", code="404") == after["404"]


def test_times_sizes_classes_and_confidences_are_measured(toy: Running) -> None:
    def values() -> list[float]:
        names = ["request_duration_seconds_count", "queue_duration_seconds_count", "batch_size_sum", "confidence_count"]
        found = [toy.metric(f"ptapp_inference_{name}", version="1") for name in names]
        classes = [{"version": "1", "class": name} for name in "abc"]
        return found + [toy.metric("ptapp_inference_predictions_total", **labels) for labels in classes]

    before = values()
    files = [("file", (name, picture(*numbers))) for name, numbers in (("1", (1, 2, 3)), ("2", (3, 2, 1)))]
    assert toy.post("/models/toy/versions/1/predict", files=files).status_code == 200
    assert [after - now for after, now in zip(values(), before, strict=True)] == [1, 1, 2, 2, 1, 0, 1]
    assert toy.metric("ptapp_ready") == 1
    assert toy.metric("ptapp_inference_queue_depth") == 0


def test_each_request_has_a_line_of_json_and_an_id(toy: Running) -> None:
    answer = toy.post("/predict", content=picture(1, 2, 3), headers={**TOY, "x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    (line,) = until(lambda: [line for line in toy.log if line.get("request_id") == "mine-1"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert (line["level"], line["client"], line["method"], line["path"]) == ("info", "127.0.0.1", "POST", "/predict")
    assert (line["status"], line["model"], line["version"], line["samples"]) == (200, "toy", "2", 1)
    assert line["bytes"] == len(answer.content)
    assert 0 <= line["queue_seconds"] <= line["seconds"]
    refused = toy.post("/predict", content=b"", headers={**TOY, "x-request-id": "mine-2"})
    (line,) = until(lambda: [line for line in toy.log if line.get("request_id") == "mine-2"])
    assert (line["status"], line["reason"]) == (400, refused.json()["error"])
    made = toy.get('/a%0A{"x":1}?secret', headers={"x-request-id": "no id!"}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)
    (line,) = until(lambda: [line for line in toy.log if line.get("request_id") == made])
    assert (line["path"], line["status"]) == ('/a\n{"x":1}', 404)


def names_in(text: str) -> set[str]:
    return set(re.findall(r"ptapp_\w+", text))


def test_rules_and_dashboard_ask_for_metrics_that_the_server_has(toy: Running) -> None:
    known = {sample.name for family in families(toy.get("/metrics").text) for sample in family.samples}
    # Families without a sample yet are known by their name and type.
    for name, kind in re.findall(r"# TYPE (ptapp_\w+) (\w+)", toy.get("/metrics").text):
        known |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"} if kind == "histogram" else {name}
    dashboard: Any = json.loads((SHIPPED / "dashboard.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert names_in(asked) <= known
    rules = (SHIPPED / "rules.yml").read_text()
    expressions = " ".join(re.findall(r"expr: >-\n((?: {10}.*\n)+)", rules))
    assert names_in(expressions) <= known
    assert len(names_in(expressions)) > 3


def test_the_rules_are_ones_that_prometheus_takes() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package `prometheus` has it)")
    done = subprocess.run(["promtool", "check", "rules", str(SHIPPED / "rules.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        ["promtool", "test", "rules", str(Path(__file__).with_name("rules_test.yml"))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_are_written_as_prometheus_wants_them(toy: Running) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package `prometheus` has it)")
    text = toy.get("/metrics").text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "ptapp_" in line]
    assert not ours
