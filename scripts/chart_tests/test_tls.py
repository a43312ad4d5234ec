"""Secrets: what is mounted is what the configuration names, and each side shows what the other asks for."""

import unittest
from pathlib import PurePosixPath
from typing import Any, Iterator

import yaml

from chart_tests.chart import CHART, EXAMPLES, Manifest, Values, cases, named, notes, of_kind, pods, refusal, render

CASES: dict[str, Values] = dict(cases())


def server(name: str, values: Values) -> tuple[dict[str, Any], Manifest]:
    """A server's configuration and its pod."""
    manifests = render(values)
    config = named(manifests, "ConfigMap", f"demo-tandem-{name}")["data"]["config.yaml"]
    pod = next(pod for path, pod in pods(manifests) if path.endswith(f"/demo-tandem-{name}"))
    return yaml.safe_load(config), pod


def mounted(pod: Manifest) -> dict[str, tuple[str, set[str]]]:
    """By folder: the Secret there, and its files."""
    volumes = {v["name"]: v["secret"] for v in pod["spec"].get("volumes", []) if "items" in v.get("secret", {})}
    return {
        mount["mountPath"]: (
            volumes[mount["name"]]["secretName"],
            {item["path"] for item in volumes[mount["name"]]["items"]},
        )
        for container in pod["spec"]["containers"]
        for mount in container.get("volumeMounts", [])
        if mount["name"] in volumes
    }


def paths(value: Any) -> Iterator[PurePosixPath]:
    """What a configuration, or a list of flags, names under /run/tandem."""
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from paths(child)
    elif isinstance(value, str) and "/run/tandem/" in value:
        yield PurePosixPath(value[value.index("/run/tandem/") :])


def asked_by_test(case: str) -> list[str]:
    """What the last container of helm test is told."""
    pod = of_kind(render(CASES[case]), "Pod")[0]
    return pod["spec"]["containers"][0]["args"]


class Secrets(unittest.TestCase):
    def test_every_file_that_is_named_is_mounted_and_no_other(self) -> None:
        seen = 0
        for name, values in cases():
            manifests = render(values)
            for pod_name, pod in pods(manifests):
                with self.subTest(name, pod=pod_name):
                    container = pod["spec"]["containers"][0]
                    told: Any = container["args"]
                    if "--config" in told:
                        component = pod_name.rsplit("-", 1)[1]
                        data = named(manifests, "ConfigMap", f"demo-tandem-{component}")["data"]
                        told = yaml.safe_load(data["config.yaml"])
                    files = {f"{at}/{file}" for at, (_, files) in mounted(pod).items() for file in files}
                    self.assertEqual({str(path) for path in paths(told)}, files)
                    seen += len(files)
        self.assertGreater(seen, 20)

    def test_they_are_whole_folders_that_only_the_pods_group_reads(self) -> None:
        for name, values in cases():
            for pod_name, pod in pods(render(values)):
                with self.subTest(name, pod=pod_name):
                    for volume in pod["spec"].get("volumes", []):
                        if volume.get("secret", {}).get("items"):
                            self.assertEqual(volume["secret"]["defaultMode"], 0o440)
                    for mount in pod["spec"]["containers"][0].get("volumeMounts", []):
                        if mount["mountPath"].startswith("/run/tandem/"):
                            # A subPath is never brought up to date.
                            self.assertNotIn("subPath", mount)
                            self.assertIs(mount["readOnly"], True)

    def test_without_them_nothing_is_mounted_or_said(self) -> None:
        for name in ("cloud", "edge"):
            config, pod = server(name, {})
            self.assertEqual(mounted(pod), {})
            self.assertFalse(config.keys() & {"tls", "auth", "cloud_tls", "cloud_token"})
            self.assertIs(config["insecure"], True)


class Sides(unittest.TestCase):
    def test_an_edge_reaches_its_own_cloud_by_tls_and_believes_its_authority(self) -> None:
        config, pod = server("edge", CASES["with TLS"])
        self.assertEqual(config["cloud"], "https://demo-tandem-cloud-headless:50051")
        self.assertEqual(config["cloud_tls"]["server_name"], "demo-tandem-cloud")
        self.assertEqual(mounted(pod)["/run/tandem/cloud-ca"], ("c", {"ca.crt"}))
        self.assertIs(config["insecure"], False)
        self.assertIn("--edge=https://demo-tandem-edge:50050", asked_by_test("with TLS"))

    def test_a_public_authority_is_the_systems_and_its_names_are_not_the_services(self) -> None:
        config, pod = server("edge", CASES["with TLS of a public authority"])
        self.assertEqual(config["cloud_tls"], {"server_name": "c.example"})
        self.assertNotIn("/run/tandem/cloud-ca", mounted(pod))
        arguments = asked_by_test("with TLS of a public authority")
        self.assertIn("--server-name=e.example", arguments)
        self.assertFalse([a for a in arguments if a.startswith("--ca")])

    def test_each_side_shows_what_the_other_asks_for(self) -> None:
        case = CASES["with certificates on all sides and tokens"]
        cloud, cloud_pod = server("cloud", case)
        edge, edge_pod = server("edge", case)
        secrets = {at.rsplit("/", 1)[1]: secret for at, (secret, _) in mounted(edge_pod).items()}
        self.assertEqual(
            secrets,
            {
                "tls": "e",
                "client-ca": "clients",
                "tokens": "e-tokens",
                "cloud-ca": "c",
                "cloud-tls": "e-own",
                "cloud-token": "e-token",
            },
        )
        self.assertEqual({secret for secret, _ in mounted(cloud_pod).values()}, {"c", "edges", "c-tokens"})
        self.assertEqual(edge["cloud_tls"]["server_name"], "c.example")
        self.assertEqual(edge["cloud_token"], "/run/tandem/cloud-token/token")
        self.assertEqual(set(cloud["tls"]), {"certificate", "key", "client_ca"})
        arguments = asked_by_test("with certificates on all sides and tokens")
        for flag in ("--ca", "--certificate", "--key", "--token-file"):
            self.assertTrue([a for a in arguments if a.startswith(f"{flag}=")], flag)

    def test_certificates_may_be_revoked_and_have_to_have_names(self) -> None:
        tls = {"existingSecret": "c", "clientCaSecret": "edges", "clientCrl": True, "clientNames": ["edge-7"]}
        cloud, pod = server("cloud", {"cloud": {"tls": tls}, "edge": {"cloudTls": {"existingSecret": "e-own"}}})
        self.assertEqual(cloud["tls"]["client_names"], ["edge-7"])
        self.assertEqual(cloud["tls"]["client_crl"], "/run/tandem/client-ca/ca.crl")
        volume = next(v["secret"] for v in pod["spec"]["volumes"] if v["name"] == "client-ca")
        self.assertEqual([item["key"] for item in volume["items"]], ["ca.crt", "ca.crl"])

    def test_without_tls_nothing_is_installed_unless_the_network_is_trusted(self) -> None:
        shut = {"insecure": False}
        self.assertIn("the pods would listen without TLS", str(refusal(shut)))
        cloud = {"cloud": {"tls": {"existingSecret": "c"}}}
        self.assertIn("edge: the pods would listen without TLS", str(refusal({**shut, **cloud})))
        self.assertIsNone(refusal({**shut, **cloud, "edge": {"tls": {"existingSecret": "e"}}}))
        token = {"tls": {"existingSecret": "e"}, "cloud": "http://c:1", "cloudToken": {"existingSecret": "t"}}
        outside = {"cloud": {"enabled": False}, "edge": token}
        self.assertIn("token without TLS", str(refusal({**shut, **outside})))
        self.assertIsNone(refusal(outside))

    def test_the_default_and_the_examples_say_what_they_trust(self) -> None:
        self.assertIs(yaml.safe_load((CHART / "values.yaml").read_text())["insecure"], False)
        for name, path in EXAMPLES.items():
            with self.subTest(name):
                values = yaml.safe_load(path.read_text())
                self.assertIsNone(refusal({"insecure": False, **values}))

    def test_a_token_without_tls_needs_leave(self) -> None:
        config, _ = server("edge", CASES["with tokens on a trusted network"])
        self.assertEqual((config["insecure"], config["cloud"][:7]), (True, "http://"))
        self.assertIn("show the cloud their token without TLS", notes(CASES["with tokens on a trusted network"]))

    def test_clients_and_meshes_are_told_which_protocol_it_is(self) -> None:
        for case, expected in (("default", "kubernetes.io/h2c"), ("with TLS", "https")):
            for service in of_kind(render(CASES[case]), "Service"):
                port = service["spec"]["ports"][0]
                if port["name"] == "grpc":
                    self.assertEqual(port["appProtocol"], expected, service["metadata"]["name"])

    def test_health_is_asked_where_it_needs_no_certificate(self) -> None:
        for case, ports in (("default", (50051, 50050)), ("with TLS", (9501, 9500))):
            pod = of_kind(render(CASES[case]), "Pod")[0]
            asked = [c["args"][2] for c in pod["spec"]["initContainers"]]
            self.assertEqual([int(address.rsplit(":", 1)[1]) for address in asked], list(ports))
            services = {s["metadata"]["name"] for s in of_kind(render(CASES[case]), "Service")}
            self.assertLessEqual({address.rsplit(":", 1)[0] for address in asked}, services)

    def test_notes_say_how_to_ask(self) -> None:
        said = notes(CASES["with certificates on all sides and tokens"])
        flags = "--ca ca.crt --certificate tls.crt --key tls.key --token-file token"
        self.assertIn(f"--server-name demo-tandem-edge {flags} ", said)
        self.assertIn('edge-agent ask "Why', notes({}))

    def test_notes_warn_of_what_is_open(self) -> None:
        outside: Values = {"service": {"type": "LoadBalancer"}}
        plain = notes({"cloud": outside})
        self.assertIn("without TLS", plain)
        tls = notes({"cloud": {**outside, "tls": {"existingSecret": "c"}}})
        self.assertNotIn("without TLS", tls)
        self.assertIn("for everyone who reaches it", tls)
        both = notes(
            {
                "cloud": {**outside, "tls": {"existingSecret": "c", "clientCaSecret": "e"}},
                "edge": {"cloudTls": {"existingSecret": "e"}},
            }
        )
        self.assertNotIn("everyone", both)


class CertManager(unittest.TestCase):
    def kept(self, case: str) -> dict[str, Any]:
        certificates = of_kind(render(CASES[case]), "Certificate")
        return {certificate["spec"]["secretName"]: certificate["spec"] for certificate in certificates}

    def test_a_public_authority_is_asked_for_public_names_only(self) -> None:
        spec = self.kept("with a public authority's certificates, kept")["demo-tandem-cloud-tls"]
        self.assertEqual(spec["dnsNames"], ["c.example", "d.example"])

    def test_it_keeps_the_secrets_that_are_mounted(self) -> None:
        case = CASES["with cert-manager"]
        kept = self.kept("with cert-manager")
        names = {"demo-tandem-cloud-tls", "demo-tandem-edge-tls", "demo-tandem-edge-client"}
        self.assertEqual(set(kept), names)
        used = {secret for name in ("cloud", "edge") for secret, _ in mounted(server(name, case)[1]).values()}
        self.assertEqual(used, names)
        for spec in kept.values():
            self.assertEqual(spec["issuerRef"]["name"], "i")
            self.assertLessEqual(len(spec["commonName"]), 64)
            self.assertIn(spec["commonName"], spec["dnsNames"])

    def test_certificates_are_for_what_they_are_used_for(self) -> None:
        kept = self.kept("with cert-manager")
        self.assertEqual(kept["demo-tandem-cloud-tls"]["usages"], ["server auth"])
        self.assertEqual(kept["demo-tandem-edge-client"]["usages"], ["client auth"])
        names = kept["demo-tandem-cloud-tls"]["dnsNames"]
        for name in ("demo-tandem-cloud", "demo-tandem-cloud.place.svc", "demo-tandem-cloud-headless.place.svc"):
            self.assertIn(name, names)
