"""Objects that name each other fit together, and behave in a cluster that lives."""

import unittest
from typing import Any, Iterator

import yaml

from chart_tests.chart import (
    MONITORED,
    Manifest,
    cases,
    containers,
    named,
    of_kind,
    pods,
    render,
)

WORKLOADS = ("Deployment", "DaemonSet")


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def every_case() -> Iterator[tuple[str, list[Manifest]]]:
    for name, values in cases():
        yield name, render(values)


class References(unittest.TestCase):
    def selected(self, manifests: list[Manifest], selector: dict[str, str]) -> Manifest:
        """The one workload whose pods a selector means, and no test pod."""
        found = [
            workload
            for workload in of_kind(manifests, *WORKLOADS)
            if matches(selector, workload["spec"]["template"]["metadata"]["labels"])
        ]
        self.assertEqual(len(found), 1, selector)
        for test in of_kind(manifests, "Pod"):
            self.assertFalse(matches(selector, test["metadata"]["labels"]))
        return found[0]

    def test_selectors_mean_one_workload(self) -> None:
        for name, manifests in every_case():
            with self.subTest(name):
                for workload in of_kind(manifests, *WORKLOADS):
                    selector = workload["spec"]["selector"]["matchLabels"]
                    self.assertIs(self.selected(manifests, selector), workload)
                for service in of_kind(manifests, "Service"):
                    self.selected(manifests, service["spec"]["selector"])
                for kind in ("PodDisruptionBudget", "NetworkPolicy"):
                    for manifest in of_kind(manifests, kind):
                        spec = manifest["spec"]
                        selector = spec.get("selector") or spec["podSelector"]
                        self.selected(manifests, selector["matchLabels"])

    def test_selectors_are_free_of_what_an_upgrade_changes(self) -> None:
        for name, manifests in every_case():
            with self.subTest(name):
                for workload in of_kind(manifests, *WORKLOADS):
                    self.assertEqual(
                        set(workload["spec"]["selector"]["matchLabels"]),
                        {f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")},
                    )

    def test_services_lead_to_ports_that_are_there(self) -> None:
        for name, manifests in every_case():
            for service in of_kind(manifests, "Service"):
                with self.subTest(name, service=service["metadata"]["name"]):
                    pod = self.selected(manifests, service["spec"]["selector"])["spec"]["template"]
                    ports = {p["name"] for c in containers(pod) for p in c.get("ports", [])}
                    for port in service["spec"]["ports"]:
                        self.assertIn(port["targetPort"], ports)

    def test_volumes_mounts_and_what_they_name_are_there(self) -> None:
        for name, manifests in every_case():
            for pod_name, pod in pods(manifests):
                with self.subTest(name, pod=pod_name):
                    volumes = {v["name"]: v for v in pod["spec"].get("volumes", [])}
                    mounted = {m["name"] for c in containers(pod) for m in c.get("volumeMounts", [])}
                    self.assertEqual(mounted, set(volumes))
                    for volume in volumes.values():
                        if "configMap" in volume:
                            named(manifests, "ConfigMap", volume["configMap"]["name"])
                    if account := pod["spec"].get("serviceAccountName"):
                        named(manifests, "ServiceAccount", account)

    def test_service_monitors_scrape_each_admin_port_once_under_the_name_the_alerts_know(self) -> None:
        manifests = render(MONITORED)
        scraped = []
        for monitor in of_kind(manifests, "ServiceMonitor"):
            spec = monitor["spec"]
            services = [
                s
                for s in of_kind(manifests, "Service")
                if matches(spec["selector"]["matchLabels"], s["metadata"]["labels"])
            ]
            self.assertEqual(len(services), 1)
            ports = {port["name"] for port in services[0]["spec"]["ports"]}
            self.assertEqual({e["port"] for e in spec["endpoints"]}, ports)
            scraped.append(services[0]["metadata"]["labels"][spec["jobLabel"]])
        self.assertEqual(sorted(scraped), ["cloud-service", "edge-agent"])

    def test_the_admin_port_is_never_open_to_the_outside(self) -> None:
        for name, manifests in every_case():
            for service in of_kind(manifests, "Service"):
                with self.subTest(name, service=service["metadata"]["name"]):
                    if any(port["targetPort"] == "admin" for port in service["spec"]["ports"]):
                        self.assertEqual(service["spec"]["clusterIP"], "None")
                        self.assertNotIn("type", service["spec"])


class LiveClusters(unittest.TestCase):
    def test_an_autoscaled_deployment_does_not_say_how_many(self) -> None:
        for name, manifests in every_case():
            for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
                with self.subTest(name):
                    target = scaler["spec"]["scaleTargetRef"]
                    self.assertNotIn("replicas", named(manifests, target["kind"], target["name"])["spec"])
                    self.assertTrue(scaler["spec"]["metrics"])

    def test_a_fixed_deployment_says_how_many_even_if_none(self) -> None:
        deployment = named(render({"cloud": {"replicas": 0}}), "Deployment", "demo-tandem-cloud")
        self.assertEqual(deployment["spec"]["replicas"], 0)

    def test_a_node_can_always_be_drained(self) -> None:
        for name, manifests in every_case():
            for budget in of_kind(manifests, "PodDisruptionBudget"):
                with self.subTest(name):
                    self.assertNotIn("minAvailable", budget["spec"])
                    self.assertNotIn(budget["spec"]["maxUnavailable"], (0, "0%"))
                    self.assertEqual(budget["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow")

    def test_sessions_scale_by_a_mean_of_pods(self) -> None:
        manifests = render({"cloud": {"autoscaling": {"enabled": True, "sessions": 40}}})
        metrics = of_kind(manifests, "HorizontalPodAutoscaler")[0]["spec"]["metrics"]
        self.assertEqual([metric["type"] for metric in metrics], ["Resource", "Pods"])
        self.assertEqual(
            metrics[1]["pods"],
            {
                "metric": {"name": "tandem_cloud_sessions"},
                "target": {"type": "AverageValue", "averageValue": "40"},
            },
        )

    def test_a_strategy_without_rolling_has_no_rolling_limits(self) -> None:
        manifests = render(dict(cases())["recreated"])
        cloud = named(manifests, "Deployment", "demo-tandem-cloud")
        edge = named(manifests, "DaemonSet", "demo-tandem-edge")
        self.assertEqual(cloud["spec"]["strategy"], {"type": "Recreate"})
        self.assertEqual(edge["spec"]["updateStrategy"], {"type": "OnDelete"})

    def test_a_daemon_set_has_nothing_of_a_deployment(self) -> None:
        manifests = render({"edge": {"kind": "DaemonSet"}})
        spec = named(manifests, "DaemonSet", "demo-tandem-edge")["spec"]
        self.assertFalse(spec.keys() & {"replicas", "strategy", "progressDeadlineSeconds"})
        self.assertNotIn("topologySpreadConstraints", spec["template"]["spec"])
        budgets = [b["metadata"]["name"] for b in of_kind(manifests, "PodDisruptionBudget")]
        self.assertEqual(budgets, ["demo-tandem-cloud"])

    def test_the_test_pod_goes_where_an_agent_is(self) -> None:
        manifests = render(dict(cases())["edge-fleet"])
        agent = named(manifests, "DaemonSet", "demo-tandem-edge")["spec"]["template"]["spec"]
        test = of_kind(manifests, "Pod")[0]["spec"]
        for key in ("nodeSelector", "tolerations"):
            self.assertEqual(test[key], agent[key])

    def test_pods_own_labels_cannot_take_them_out_of_their_services(self) -> None:
        manifests = render({"cloud": {"podLabels": {"app.kubernetes.io/component": "mine"}}})
        labels = named(manifests, "Deployment", "demo-tandem-cloud")["spec"]["template"]["metadata"]
        self.assertEqual(labels["labels"]["app.kubernetes.io/component"], "cloud-service")


class Policies(unittest.TestCase):
    def policy(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        return named(render(values), "NetworkPolicy", f"demo-tandem-{name}")["spec"]

    def admitted(self, policy: dict[str, Any], port: int) -> list[dict[str, Any]]:
        rules = [r for r in policy["ingress"] if [p["port"] for p in r["ports"]] == [port]]
        self.assertEqual(len(rules), 1)
        # An empty list would mean everyone.
        self.assertTrue(rules[0]["from"])
        return rules[0]["from"]

    def components(self, peers: list[dict[str, Any]]) -> set[str]:
        labels = [peer.get("podSelector", {}).get("matchLabels", {}) for peer in peers]
        return {label.get("app.kubernetes.io/component", "") for label in labels} - {""}

    def test_the_clouds_data_port_is_for_edges_and_named_clients(self) -> None:
        client = {"ipBlock": {"cidr": "10.0.0.0/8"}}
        peers = self.admitted(
            self.policy("cloud", {"cloud": {"networkPolicy": {"clients": [client]}}}), 50051
        )
        self.assertEqual(self.components(peers), {"edge-agent", "test"})
        self.assertIn(client, peers)
        self.assertEqual(len(peers), 3)

    def test_openais_clients_reach_the_edge_where_grpcs_do_and_only_if_it_is_on(self) -> None:
        values = {"edge": {"openai": {"enabled": True, "port": 80}}}
        for on, ports, served in (({}, [50050], ["grpc"]), (values, [50050, 8000], ["grpc", "openai"])):
            rules = [[p["port"] for p in rule["ports"]] for rule in self.policy("edge", on)["ingress"]]
            self.assertEqual(rules, [ports, [9500]])
            service = named(render(on), "Service", "demo-tandem-edge")["spec"]["ports"]
            self.assertEqual([port["name"] for port in service], served)
        self.assertEqual(service[1]["port"], 80)
        configuration = named(render(values), "ConfigMap", "demo-tandem-edge")["data"]["config.yaml"]
        self.assertIn("demo-tandem-edge.place.svc", yaml.safe_load(configuration)["openai"]["hosts"])
        cloud = named(render(values), "Service", "demo-tandem-cloud")["spec"]["ports"]
        self.assertEqual([port["name"] for port in cloud], ["grpc"])

    def test_an_ingress_leads_to_openais_port_by_names_that_are_answered(self) -> None:
        ingress = {"enabled": True, "hosts": ["e.example", "*.f.example"], "className": "nginx"}
        values = {"edge": {"openai": {"enabled": True, "ingress": ingress}}}
        made = named(render(values), "Ingress", "demo-tandem-edge")["spec"]
        self.assertEqual((made["ingressClassName"], made.get("tls")), ("nginx", None))
        self.assertEqual([rule["host"] for rule in made["rules"]], ingress["hosts"])
        backend = made["rules"][0]["http"]["paths"][0]["backend"]["service"]
        self.assertEqual(backend, {"name": "demo-tandem-edge", "port": {"name": "openai"}})
        configuration = named(render(values), "ConfigMap", "demo-tandem-edge")["data"]["config.yaml"]
        self.assertLessEqual(set(ingress["hosts"]), set(yaml.safe_load(configuration)["openai"]["hosts"]))
        ingress["tlsSecret"] = "e-tls"
        made = named(render(values), "Ingress", "demo-tandem-edge")["spec"]
        self.assertEqual(made["tls"], [{"secretName": "e-tls", "hosts": ingress["hosts"]}])
        kinds = [made["kind"] for made in render({"edge": {"openai": {"enabled": True}}})]
        self.assertNotIn("Ingress", kinds)

    def test_admin_ports_are_for_monitoring_the_kubelet_and_the_test(self) -> None:
        values = {"networkPolicy": {"kubelet": ["10.1.0.0/16"]}}
        for name, port in (("cloud", 9501), ("edge", 9500)):
            peers = self.admitted(self.policy(name, values), port)
            self.assertEqual(self.components(peers), {"test"})
            self.assertIn({"ipBlock": {"cidr": "10.1.0.0/16"}}, peers)
            self.assertEqual(sum("namespaceSelector" in peer for peer in peers), 1)

    def test_without_monitoring_peers_the_admin_port_is_not_open_to_all(self) -> None:
        peers = self.admitted(self.policy("cloud", {"networkPolicy": {"monitoring": []}}), 9501)
        self.assertEqual(self.components(peers), {"test"})
        self.assertEqual(len(peers), 1)

    def test_the_cloud_calls_nobody_and_the_edge_its_cloud_only(self) -> None:
        ports = lambda policy: [[p["port"] for p in rule["ports"]] for rule in policy["egress"]]
        self.assertEqual(ports(self.policy("cloud", {})), [[53, 53]])
        edge = self.policy("edge", {})
        self.assertEqual(ports(edge), [[53, 53], [50051]])
        self.assertEqual(self.components(edge["egress"][1]["to"]), {"cloud-service"})

    def test_a_cloud_elsewhere_is_reached_at_its_port(self) -> None:
        ports = {"http://c.example:6000": 6000, "https://c:443": 443, "http://[fd00::1]:7": 7}
        for address, port in ports.items():
            values = {"cloud": {"enabled": False}, "edge": {"cloud": address}}
            self.assertEqual(self.policy("edge", values)["egress"][1]["ports"][0]["port"], port)

    def test_a_collector_of_traces_is_reached_at_its_port(self) -> None:
        config = {"traces": {"endpoint": "http://collector.monitoring:4317"}}
        for name in ("cloud", "edge"):
            rules = self.policy(name, {name: {"config": config}})["egress"]
            self.assertIn([{"protocol": "TCP", "port": 4317}], [rule["ports"] for rule in rules])

    def test_the_hub_is_reached_at_its_port_or_at_the_one_that_is_named(self) -> None:
        for endpoint, port, expected in (
            ("", None, 443),
            ("https://mirror.example", None, 443),
            ("http://mirror.example/hub", None, 80),
            ("http://mirror.example:8080/a:1", None, 8080),
            ("http://[fd00::1]:7", None, 7),
            ("https://[fd00::1]", None, 443),
            ("https://mirror.example:8443", 3128, 3128),
        ):
            hub = {"id": "o/m", "endpoint": endpoint, "port": port}
            for name in ("cloud", "edge"):
                with self.subTest(endpoint=endpoint, port=port, name=name):
                    rules = self.policy(name, {name: {"model": {"source": "hub", "hub": hub}}})["egress"]
                    self.assertEqual(rules[1], {"ports": [{"protocol": "TCP", "port": expected}]})

    def test_a_model_that_is_fetched_can_be(self) -> None:
        file = {"path": "a", "url": "http://a:8080/a", "sha256": "0" * 64}
        values = {"model": {"source": "download", "download": {"files": [file], "port": 8080}}}
        for name in ("cloud", "edge"):
            rules = self.policy(name, values)["egress"]
            self.assertIn([{"protocol": "TCP", "port": 8080}], [rule["ports"] for rule in rules])
