"""What holds for every pod and container, in every case."""

import unittest
from typing import Iterator

import yaml

from chart_tests.chart import (
    Manifest,
    Values,
    cases,
    containers,
    named,
    of_kind,
    pods,
    render,
)

ADMIN_PORTS = {"cloud-service": 9501, "edge-agent": 9500}


def every_pod() -> Iterator[tuple[str, Manifest]]:
    for name, values in cases():
        for pod_name, pod in pods(render(values)):
            yield f"{name}: {pod_name}", pod


def servers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Each server's name, its pod and its container."""
    for _, pod in pods(manifests):
        for container in pod["spec"]["containers"]:
            if container["name"] in ADMIN_PORTS:
                yield container["name"], pod, container


def plain_token(config: dict) -> bool:
    """Whether the cloud is shown a token without TLS."""
    return "cloud_token" in config and config["cloud"].startswith("http://")


def seconds(duration: str) -> float:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    number = duration.rstrip("mhs")
    return int(number) * units[duration.removeprefix(number)]


class Security(unittest.TestCase):
    def test_pods_run_as_nobody_with_the_runtimes_seccomp_profile_and_no_token(self) -> None:
        for name, pod in every_pod():
            with self.subTest(name):
                spec, context = pod["spec"], pod["spec"]["securityContext"]
                self.assertIs(spec["automountServiceAccountToken"], False)
                self.assertIs(spec["enableServiceLinks"], False)
                self.assertIs(context["runAsNonRoot"], True)
                self.assertGreater(context["runAsUser"], 0)
                self.assertGreater(context["runAsGroup"], 0)
                self.assertEqual(context["seccompProfile"]["type"], "RuntimeDefault")
                for shared in ("hostNetwork", "hostPID", "hostIPC"):
                    self.assertNotIn(shared, spec)

    def test_containers_are_confined(self) -> None:
        for name, pod in every_pod():
            for container in containers(pod):
                with self.subTest(name, container=container["name"]):
                    context = container["securityContext"]
                    self.assertIs(context["allowPrivilegeEscalation"], False)
                    self.assertIs(context["readOnlyRootFilesystem"], True)
                    self.assertIs(context["runAsNonRoot"], True)
                    self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                    self.assertEqual(context["seccompProfile"]["type"], "RuntimeDefault")
                    self.assertNotIn("privileged", context)

    def test_containers_have_requests_and_limits(self) -> None:
        for name, pod in every_pod():
            for container in containers(pod):
                with self.subTest(name, container=container["name"]):
                    for kind in ("requests", "limits"):
                        self.assertIn("cpu", container["resources"][kind])
                        self.assertIn("memory", container["resources"][kind])

    def test_images_are_pinned_to_something(self) -> None:
        for name, pod in every_pod():
            for container in containers(pod):
                with self.subTest(name, container=container["name"]):
                    image = container["image"]
                    self.assertRegex(image, r"(:[0-9]|@sha256:[0-9a-f]{64}$)")

    def test_service_accounts_have_no_token_and_no_rights(self) -> None:
        for name, values in cases():
            with self.subTest(name):
                manifests = render(values)
                for account in of_kind(manifests, "ServiceAccount"):
                    self.assertIs(account["automountServiceAccountToken"], False)
                kinds = {manifest["kind"] for manifest in manifests}
                self.assertFalse(kinds & {"Role", "ClusterRole", "RoleBinding", "Secret"})

    def test_only_tmp_the_cache_and_a_model_that_is_fetched_can_be_written(self) -> None:
        for name, pod in every_pod():
            fetched = any(c["name"] == "fetch-model" for c in containers(pod))
            for container in containers(pod):
                for mount in container.get("volumeMounts", []):
                    with self.subTest(name, container=container["name"], mount=mount["name"]):
                        writable = not mount.get("readOnly", False)
                        allowed = mount["name"] in ("tmp", "cache") or mount["name"] == "model" and fetched
                        self.assertTrue(allowed or not writable)


class Servers(unittest.TestCase):
    def test_probes_ask_grpc_health_on_the_admin_port(self) -> None:
        for name, values in cases():
            for server, _, container in servers(render(values)):
                with self.subTest(name, server=server):
                    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                        self.assertEqual(container[probe]["grpc"], {"port": ADMIN_PORTS[server]})
                    startup = container["startupProbe"]
                    self.assertGreaterEqual(startup["failureThreshold"] * startup["periodSeconds"], 60)
                    # A pod leaves its Services long before it is restarted.
                    patience = [
                        container[probe]["failureThreshold"] * container[probe]["periodSeconds"]
                        for probe in ("readinessProbe", "livenessProbe")
                    ]
                    self.assertLess(2 * patience[0], patience[1])

    def test_the_configuration_listens_where_ports_and_probes_are(self) -> None:
        for name, values in cases():
            manifests = render(values)
            for server, pod, container in servers(manifests):
                with self.subTest(name, server=server):
                    config = self.config(manifests, pod)
                    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
                    address = values.get("bindAddress", "0.0.0.0")
                    self.assertEqual(config["listen"], f"{address}:{ports['grpc']}")
                    # Without it the servers refuse to listen in plain text beyond loopback.
                    self.assertIs(config["insecure"], "tls" not in config or plain_token(config))
                    self.assertEqual(config["metrics_listen"], f"{address}:{ports['admin']}")
                    self.assertEqual(ports["admin"], ADMIN_PORTS[server])
                    self.assertEqual(container["args"], ["serve", "--config", "/etc/tandem/config.yaml"])

    def test_the_grace_period_outlasts_the_drain(self) -> None:
        for name, values in cases():
            manifests = render(values)
            for server, pod, container in servers(manifests):
                with self.subTest(name, server=server):
                    drain = seconds(self.config(manifests, pod).get("drain_deadline", "30s"))
                    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
                    needed = drain + pause.get("seconds", 0) + 5
                    self.assertGreaterEqual(pod["spec"]["terminationGracePeriodSeconds"], needed)

    def test_odd_durations_become_whole_seconds(self) -> None:
        for duration, expected in {"1ms": 16, "1500ms": 17, "2m": 135, "1h": 3615}.items():
            values: Values = {"cloud": {"config": {"drain_deadline": duration}}}
            pod = named(render(values), "Deployment", "demo-tandem-cloud")["spec"]["template"]
            self.assertEqual(pod["spec"]["terminationGracePeriodSeconds"], expected, duration)

    def test_a_change_of_configuration_or_model_replaces_pods_and_nothing_else_does(self) -> None:
        files = [{"path": "a", "url": "http://a", "sha256": digit * 64} for digit in "12"]
        of = lambda values: self.annotations(values)["demo-tandem-cloud"]
        fetched = lambda file: {"model": {"source": "download", "download": {"files": [file]}}}
        self.assertNotEqual(of({}), of({"cloud": {"config": {"sessions": {"max": 3}}}}))
        self.assertNotEqual(of(fetched(files[0])), of(fetched(files[1])))
        self.assertEqual(of({}), of({"edge": {"config": {"split": 4}}}))
        self.assertEqual(of({}), of({"cloud": {"replicas": 7}}))

    def test_an_edge_without_a_cloud_of_its_own_has_the_releases(self) -> None:
        manifests = render({"cloud": {"service": {"port": 6000}}})
        service = named(manifests, "Service", "demo-tandem-cloud")
        config = yaml.safe_load(named(manifests, "ConfigMap", "demo-tandem-edge")["data"]["config.yaml"])
        self.assertEqual(config["cloud"], "http://demo-tandem-cloud-headless:50051")
        self.assertEqual(service["spec"]["ports"][0]["port"], 6000)

    def test_a_gpu_is_asked_for_and_used(self) -> None:
        manifests = render({"cloud": {"gpu": {"count": 2}}})
        server, pod, container = next(s for s in servers(manifests) if s[0] == "cloud-service")
        self.assertEqual(container["resources"]["limits"]["nvidia.com/gpu"], 2)
        self.assertEqual(self.config(manifests, pod)["device"], "cuda")

    @staticmethod
    def config(manifests: list[Manifest], pod: Manifest) -> dict:
        volume = next(v for v in pod["spec"]["volumes"] if v["name"] == "config")
        data = named(manifests, "ConfigMap", volume["configMap"]["name"])["data"]
        return yaml.safe_load(data["config.yaml"])

    @staticmethod
    def annotations(values: Values) -> dict[str, dict]:
        workloads = of_kind(render(values), "Deployment", "DaemonSet")
        return {w["metadata"]["name"]: w["spec"]["template"]["metadata"]["annotations"] for w in workloads}
