"""deploy/k8s holds what the API's schemas and docs/kubernetes.md say; no cluster is needed."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import SchemaNotFoundError

from jangteo.cli import main
from shop import command
from shop.events import GROUPS, TOPICS
from shop.postgres import Connection
from shop.settings import LOGINS
from tests.deploy.kustomize import Object, build, pod

DEPLOY = Path(__file__).parents[2] / "deploy"
K8S = DEPLOY / "k8s"
BASE, PRODUCTION = K8S / "base", K8S / "overlays/production"
VERSIONS = ["1.31", kubernetes_validate.latest_version()]
# Kinds that operators bring, whose schemas are not Kubernetes's.
OF_OPERATORS = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule"}
# Variables of the image or of the system, not of this project.
NOT_OURS = {"HOME", "XDG_STATE_HOME", "PYTHONDONTWRITEBYTECODE"}


@pytest.fixture(params=[BASE, PRODUCTION], ids=lambda p: p.name)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return build(request.param)


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [o for o in objects if o["kind"] in kinds]


def running(objects: list[Object]) -> list[Object]:
    return of_kind(objects, "Deployment", "Job")


def settings(objects: list[Object]) -> dict[str, str]:
    (found,) = of_kind(objects, "ConfigMap")
    data: dict[str, str] = found["data"]
    return data


@pytest.mark.parametrize("version", VERSIONS)
def test_the_api_takes_every_object(objects: list[Object], version: str) -> None:
    checked = [o for o in objects if o["kind"] not in OF_OPERATORS]
    for obj in checked:
        kubernetes_validate.validate(obj, version, strict=True)
    assert len(checked) > 10


def test_the_schemas_refuse_what_is_wrong() -> None:
    (service, *_) = of_kind(build(BASE), "Deployment")
    service["spec"]["replicsa"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[-1], strict=True)
    with pytest.raises(SchemaNotFoundError):  # why ScaledObject is looked at below instead
        kubernetes_validate.validate(
            {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject"}, VERSIONS[-1]
        )


def test_every_file_is_used() -> None:
    named = "".join(p.read_text(encoding="utf-8") for p in K8S.rglob("kustomization.yaml"))
    assert [p.name for p in K8S.rglob("*.*") if p.is_file() and p.name not in named
            and p.name != "kustomization.yaml"] == []  # fmt: skip


def test_names_are_there_once(objects: list[Object]) -> None:
    names = [(o["kind"], o["metadata"]["name"]) for o in objects]
    assert len(names) == len(set(names))


def test_every_pod_is_confined(objects: list[Object]) -> None:
    for obj in running(objects):
        spec = pod(obj)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_selectors_meet_their_pods(objects: list[Object]) -> None:
    deployments = of_kind(objects, "Deployment")
    for obj in deployments:
        labels = obj["spec"]["template"]["metadata"]["labels"]
        assert obj["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for budget in of_kind(objects, "PodDisruptionBudget"):
        wanted = budget["spec"]["selector"]["matchLabels"].items()
        assert any(
            wanted <= o["spec"]["template"]["metadata"]["labels"].items() for o in deployments
        )


def test_every_command_is_one_of_ours(objects: list[Object]) -> None:
    for obj in running(objects):
        for container in pod(obj)["containers"]:
            words = container["args"]
            if "command" in container:
                assert container["command"][:2] == ["python", "-m"]
                continue
            table = main.COMMANDS
            if words[0] == "generate":
                table, words = main.GENERATE, words[1:]
            parser = command.Parser()
            importlib.import_module(table[words[0]].module).configure(parser)
            parser.parse(words[1:])


def test_settings_are_known_and_secrets_only_named(objects: list[Object]) -> None:
    example = (DEPLOY / ".env.example").read_text(encoding="utf-8")
    known = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) | NOT_OURS
    found = settings(objects)
    assert found.keys() <= known
    assert {
        n for n in found if re.search("PASSWORD|REDIS_URL", n) and not n.endswith("_FILE")
    } == set()
    assert of_kind(objects, "Secret") == []
    for obj in running(objects):
        assert all("value" in e for c in pod(obj)["containers"] for e in c.get("env", []))
        mounted = [v["secret"]["secretName"] for v in pod(obj)["volumes"] if "secret" in v]
        assert mounted in (["jangteo-secrets"], ["jangteo-secrets", "jangteo-logins"])


def secrets(obj: Object) -> dict[str, set[str]]:
    """Return the keys of each Secret that a pod is given; all of them if none is named."""
    return {
        v["secret"]["secretName"]: {i["key"] for i in v["secret"].get("items", [])}
        for v in pod(obj)["volumes"]
        if "secret" in v
    }


def test_each_kind_logs_in_as_itself_and_is_given_no_other_password() -> None:
    objects = build(PRODUCTION)
    kinds = {"cache-worker": "generator", "init": None, "backfill": None}
    for obj in running(objects):
        name = obj["metadata"]["name"]
        kind = kinds.get(name, name.partition("-")[0])
        (container,) = pod(obj)["containers"]
        env = {e["name"]: e["value"] for e in container.get("env", [])}
        if kind:
            assert kind in LOGINS
            where = f"/run/secrets/logins/{kind}"
            assert env["POSTGRES_USER"] == f"shop_{kind}"
            assert env["POSTGRES_PASSWORD_FILE"] == where
            others = {"redis-url", "kafka-password", "ca.crt"}
            assert secrets(obj) == {"jangteo-logins": {kind}, "jangteo-secrets": others}
            assert "/run/secrets/logins" in {m["mountPath"] for m in container["volumeMounts"]}
        elif name == "init":
            assert container["args"] == ["init", "--logins"]
            assert env == {f"{v}_FILE": f"/run/secrets/logins/{k}" for k, v in LOGINS.items()}
            assert secrets(obj) == {"jangteo-logins": set(), "jangteo-secrets": set()}
        else:
            assert secrets(obj) == {"jangteo-secrets": set()}
    # What the settings of all name is among what each is given, but for the owner's password.
    named = {Path(v).name for v in settings(objects).values() if v.startswith("/run/secrets/")}
    assert named == {"postgres-password", "redis-url", "kafka-password", "ca.crt"}


def test_each_topic_is_taken_by_no_more_pods_than_partitions() -> None:
    objects = build(BASE)
    most = int(settings(objects)["KAFKA_PARTITIONS"])
    taken = {
        env["value"]: obj["spec"]["replicas"]
        for obj in of_kind(objects, "Deployment")
        for env in pod(obj)["containers"][0].get("env", [])
        if env["name"] == "INGEST_TOPICS"
    }
    assert taken.keys() == set(TOPICS)
    assert all(n <= most for n in taken.values())


def test_keda_scales_the_deployments_that_are_there_by_their_groups() -> None:
    objects = build(PRODUCTION)
    deployments = {o["metadata"]["name"]: o for o in of_kind(objects, "Deployment")}
    scaled: list[dict[str, Any]] = [o["spec"] for o in of_kind(objects, "ScaledObject")]
    assert len(scaled) == len(TOPICS)
    for spec in scaled:
        target = deployments[spec["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"]
        (trigger,) = spec["triggers"]
        topic = trigger["metadata"]["topic"]
        env = {e["name"]: e["value"] for e in pod(target)["containers"][0]["env"]}
        assert env["INGEST_TOPICS"] == topic
        assert trigger["metadata"]["consumerGroup"] == GROUPS[topic]
        assert trigger["metadata"]["bootstrapServersFromEnv"] in settings(objects)
        (login,) = of_kind(objects, "TriggerAuthentication")
        assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]
        given = {s["parameter"] for s in login["spec"]["secretTargetRef"]}
        assert given == {"sasl", "username", "password", "tls", "ca"}
        assert spec["maxReplicaCount"] == int(settings(objects)["KAFKA_PARTITIONS"])


@pytest.mark.parametrize("component", ["backfill", "keda", "logins", "monitoring", "seed"])
def test_every_component_fits_the_base(component: str) -> None:
    kustomization = {"resources": ["../../base"], "components": [f"../../components/{component}"]}
    built = build(PRODUCTION, kustomization)
    if component == "logins":
        assert len(built) == len(build(BASE))  # it changes what is there
    else:
        assert len(built) > len(build(BASE))
    for obj in of_kind(built, "Job"):
        kubernetes_validate.validate(obj, VERSIONS[-1], strict=True)
        assert pod(obj)["securityContext"]["runAsNonRoot"] is True


def test_prometheus_asks_every_pod_with_an_endpoint_and_alerts_by_the_tested_rules() -> None:
    objects = build(PRODUCTION)
    (service,) = of_kind(objects, "Service")
    (monitor,) = of_kind(objects, "ServiceMonitor")
    labels = monitor["spec"]["selector"]["matchLabels"]
    assert labels.items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    port = service["spec"]["ports"][0]["targetPort"]
    asked = {
        obj["metadata"]["name"]
        for obj in of_kind(objects, "Deployment")
        for named in pod(obj)["containers"][0].get("ports", [])
        if named["name"] == port
        and service["spec"]["selector"].items()
        <= obj["spec"]["template"]["metadata"]["labels"].items()
    }
    assert {"ingest-orders", "ingest-users", "ingest-products", "grader", "cache-worker"} <= asked
    (rule,) = of_kind(objects, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((DEPLOY / "grafana/alerts.yml").read_text("utf-8"))


def test_the_feeders_of_production_wait_for_the_history() -> None:
    """The container that waits is confined as the others, and logs in as its pod does."""
    waiting = 0
    for obj in running(build(PRODUCTION)):
        (container,) = pod(obj)["containers"]
        for first in pod(obj).get("initContainers", []):
            waiting += 1
            assert first["image"] == container["image"]
            assert first["securityContext"] == container["securityContext"]
            logins = [e for e in container["env"] if e["name"].startswith("POSTGRES_")]
            assert first["env"] == logins
            compile(first["command"][2], "after-history.yaml", "exec")
            mounted = {m["name"] for m in first["volumeMounts"]}
            assert mounted <= {v["name"] for v in pod(obj)["volumes"]}
    assert waiting == 3


def test_the_feeders_begin_when_the_history_is_whole_and_not_before(
    env: dict[str, str], pg: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container runs as in the overlay, from no schema on; one step each time it waits."""
    generator = next(o for o in running(build(PRODUCTION)) if pod(o).get("initContainers"))
    steps = [
        "ALTER TABLE not_yet RENAME TO backfill_runs",
        "INSERT INTO backfill_runs (request, ends_at) VALUES ('{}', now())",
        "UPDATE backfill_runs SET next_day = 3",
        "UPDATE backfill_runs SET finished_at = now()",
    ]
    pg.execute("ALTER TABLE backfill_runs RENAME TO not_yet")
    for name, value in env.items():
        if name.startswith("POSTGRES_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr("time.sleep", lambda _: pg.execute(steps.pop(0).encode()))
    exec(pod(generator)["initContainers"][0]["command"][2], {})
    assert steps == []


def test_pods_are_given_no_variables_of_services_and_spread(objects: list[Object]) -> None:
    for obj in running(objects):
        assert pod(obj)["enableServiceLinks"] is False
        if obj["metadata"]["name"].startswith("ingest-"):
            spread = pod(obj)["topologySpreadConstraints"]
            assert [s["labelSelector"]["matchLabels"] for s in spread] == [
                obj["spec"]["selector"]["matchLabels"]
            ] * 2
