"""values.schema.json takes what is meant and refuses what is not, before anything reaches a cluster."""

import json
import unittest
from typing import Any

import jsonschema
import yaml

from chart_tests.chart import CHART, ISSUED, ROOT, Values, cases, refusal

SCHEMA = json.loads((CHART / "values.schema.json").read_text())

# What the chart sets itself.
SET_BY_CHART = {
    "cloud": {"listen", "metrics_listen", "model", "name", "insecure", "tls", "auth"},
    "edge": {
        *("listen", "metrics_listen", "model", "name", "cloud", "openai"),
        *("insecure", "tls", "auth", "cloud_tls", "cloud_token"),
    },
}


def download(**file: str) -> Values:
    whole = {"path": "a", "url": "https://a/a", "sha256": "0" * 64} | file
    return {"model": {"source": "download", "download": {"files": [whole]}}}


def hub(**key: Any) -> Values:
    return {"model": {"source": "hub", "hub": {"id": "o/m"} | key}}


# Values, and what the refusal must name.
REFUSED: list[tuple[Values, str]] = [
    ({"clod": {}}, "clod"),
    ({"cloud": {"replica": 2}}, "replica"),
    ({"cloud": {"replicas": "2"}}, "replicas"),
    ({"cloud": {"config": {"treads": 2}}}, "treads"),
    ({"cloud": {"config": {"listen": "0.0.0.0:1"}}}, "listen"),
    ({"cloud": {"config": {"sessions": {"max": 0}}}}, "max"),
    ({"cloud": {"config": {"sessions": {"kv_memory": "1Gi"}}}}, "kv_memory"),
    ({"cloud": {"config": {"drain_deadline": 30}}}, "drain_deadline"),
    ({"cloud": {"config": {"device": "gpu"}}}, "device"),
    ({"cloud": {"config": {"weights": "int3"}}}, "weights"),
    ({"cloud": {"config": {"weights": "int4,all=f32"}}}, "weights"),
    ({"cloud": {"config": {"kv": "int3"}}}, "kv"),
    ({"cloud": {"config": {"log": {"format": "xml"}}}}, "format"),
    ({"cloud": {"config": {"traces": {"sample": 2}}}}, "sample"),
    ({"edge": {"config": {"traces": {"endpoint": "collector"}}}}, "endpoint"),
    ({"cloud": {"resources": {"limits": {"cpu": None, "memory": "4Gi"}}}}, "cpu"),
    ({"cloud": {"resources": {"limits": {"cpu": "1", "memory": "4GiB"}}}}, "memory"),
    ({"cloud": {"service": {"type": "Ingress"}}}, "type"),
    ({"cloud": {"podDisruptionBudget": {"maxUnavailable": 0}}}, "maxUnavailable"),
    ({"cloud": {"podDisruptionBudget": {"minAvailable": 1}}}, "minAvailable"),
    ({"cloud": {"image": {"digest": "latest"}}}, "digest"),
    ({"cloud": {"env": [{"name": "A B"}]}}, "env"),
    ({"edge": {"kind": "StatefulSet"}}, "kind"),
    ({"edge": {"cloud": "cloud:50051"}}, "cloud"),
    ({"edge": {"cloud": "grpc://cloud:50051"}}, "cloud"),
    ({"edge": {"cloud": "https://cloud"}}, "cloud"),
    ({"edge": {"cloud": "https://c:1", "cloudTls": {"serverName": "*.c"}}}, "serverName"),
    ({"cloud": {"config": {"tls": {"certificate": "/a"}}}}, "tls"),
    ({"cloud": {"tls": {"existingSecret": "A b"}}}, "existingSecret"),
    ({"cloud": {"tls": {"secretName": "a"}}}, "secretName"),
    ({"edge": {"cloudTls": {"certManager": {"duration": "90d"}}}}, "duration"),
    ({"edge": {"tls": {"certManager": {"dnsNames": ["a b"]}}}}, "dnsNames"),
    ({"edge": {"config": {"codec": "gzip"}}}, "codec"),
    ({"edge": {"config": {"split": -1}}}, "split"),
    ({"edge": {"hostPort": 70000}}, "hostPort"),
    ({"edge": {"openai": {"listen": "0.0.0.0:8000"}}}, "listen"),
    ({"edge": {"openai": {"port": 0}}}, "port"),
    ({"edge": {"openai": {"hosts": ["edge:80"]}}}, "hosts"),
    ({"edge": {"openai": {"origins": ["chat.example.org"]}}}, "origins"),
    ({"edge": {"openai": {"timeout": "10"}}}, "timeout"),
    ({"edge": {"openai": {"unknownFields": "keep"}}}, "unknownFields"),
    ({"edge": {"openai": {"ingress": {"hosts": ["https://e.example"]}}}}, "hosts"),
    ({"cloud": {"config": {"transport": {"connections": {"max": 0}}}}}, "max"),
    ({"edge": {"config": {"openai": {"listen": ""}}}}, "openai"),
    ({"cloud": {"config": {"limits": {"accept_profiles": "known"}}}}, "accept_profiles"),
    ({"cloud": {"config": {"limits": {"accept_profiles": "true"}}}}, "accept_profiles"),
    ({"cloud": {"config": {"sessions": {"stall": "0s"}}}}, "stall"),
    ({"cloud": {"config": {"sessions": {"stall": 30}}}}, "stall"),
    ({"edge": {"config": {"preset": "fast"}}}, "preset"),
    ({"edge": {"config": {"preset": ""}}}, "preset"),
    ({"model": {"source": "s3"}}, "source"),
    *((hub(id=bad), "id") for bad in ("m", "o/", "/m", "o/m/x", "o/m@r", "-o/m", "o/m.", "o/a--b", "../m", "o/m.git")),
    *((hub(revision=bad), "revision") for bad in ("a b", "-a", "a..b", "/a", "a/", "a.lock", "a@b")),
    *((hub(endpoint=bad), "endpoint") for bad in ("mirror", "ftp://m", "https://u:p@m", "https://m/?a", "https://")),
    (hub(token="hf_secret"), "token"),
    (hub(port=0), "port"),
    (hub(fetchSeconds=-1), "fetchSeconds"),
    (hub(sizeLimit="8GiB"), "sizeLimit"),
    (hub(tokenSecret={"name": "A b"}), "tokenSecret"),
    *(({"model": {"file": bad}}, "file") for bad in ("../m.gguf", "/m.gguf", "m.safetensors", ".gguf", "a b.gguf")),
    ({"model": {"import": {"sizeLimit": "8GiB"}}}, "sizeLimit"),
    ({"model": {"name": "../etc"}}, "name"),
    ({"model": {"hostPath": "models"}}, "hostPath"),
    (download(sha256="0" * 40), "sha256"),
    (download(path="../../etc/passwd"), "path"),
    (download(path="/etc/passwd"), "path"),
    (download(path="a b"), "path"),
    (download(url="file:///etc/passwd"), "url"),
    (download(url="https://a/a b"), "url"),
    ({"podSecurityContext": {"runAsNonRoot": False}}, "runAsNonRoot"),
    ({"podSecurityContext": {"runAsUser": 0}}, "runAsUser"),
    ({"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccompProfile"),
    ({"networkPolicy": {"monitoring": [{}]}}, "monitoring"),
    ({"networkPolicy": {"kubelet": ["10.0.0.1"]}}, "kubelet"),
    ({"monitoring": {"serviceMonitor": {"interval": "often"}}}, "interval"),
    ({"bindAddress": "127.0.0.1"}, "bindAddress"),
    # These the schema cannot see.
    ({"cloud": {"enabled": False}, "edge": {"enabled": False}}, "both false"),
    ({"cloud": {"enabled": False}}, "edge.cloud is empty"),
    ({"edge": {"hostPort": 50050}}, "needs edge.kind DaemonSet"),
    ({"edge": {"openai": {"enabled": True, "port": 50050}}}, "are the same"),
    ({"edge": {"openai": {"ingress": {"enabled": True, "hosts": ["e.example"]}}}}, "not enabled"),
    ({"edge": {"openai": {"enabled": True, "ingress": {"enabled": True}}}}, "hosts is empty"),
    ({"cloud": {"tls": {"existingSecret": "c", "certManager": ISSUED}}}, "one of them"),
    ({"edge": {"tls": {"certManager": {"enabled": True}}}}, "issuerRef.name is empty"),
    ({"edge": {"cloudTls": {"certManager": {"enabled": True}}}}, "issuerRef.name is empty"),
    ({"edge": {"tls": {"clientCaSecret": "ca"}}}, "needs a certificate"),
    ({"cloud": {"tls": {"existingSecret": "c", "clientNames": ["e"]}}}, "clientCaSecret"),
    ({"edge": {"tls": {"existingSecret": "e", "clientCrl": True}}}, "clientCaSecret"),
    ({"edge": {"cloudTls": {"caSecret": "ca"}}}, "without TLS"),
    ({"edge": {"tls": {"publicAuthority": True}}}, "needs a certificate"),
    ({"cloud": {"tls": {"certManager": ISSUED, "publicAuthority": True}}}, "serverName"),
    ({"cloud": {"tls": {"existingSecret": "c", "clientCaSecret": "e"}}}, "edge.cloudTls has none"),
    ({"cloud": {"auth": {"existingSecret": "t"}}}, "edge.cloudToken"),
    ({"model": {"claim": {"name": ""}}}, "claim.name is empty"),
    ({"model": {"source": "image"}}, "image.reference is empty"),
    ({"model": {"source": "hostPath"}}, "hostPath is empty"),
    ({"edge": {"model": {"source": "download"}}}, "download.files is empty"),
    ({"model": {"source": "hub"}}, "hub.id is empty"),
    ({"cloud": {"model": {**hub()["model"], "file": "m.gguf"}}}, "the cloud's model.file is m.gguf"),
    ({"model": {**download()["model"], "file": "m.gguf"}}, "none of model.download.files"),
    ({"cloud": {"config": {"device": "cuda:1"}}}, "gpu.count is 0"),
    ({"cloud": {"config": {"device": "cpu"}, "gpu": {"count": 1}}}, "device is cpu"),
    ({"cloud": {"config": {"sessions": {"kv_memory": "2GiB"}}}}, "does not fit"),
    ({"cloud": {"resources": {"limits": {"cpu": "1", "memory": "1G"}}}}, "does not fit"),
    ({"cloud": {"autoscaling": {"enabled": True, "cpuPercent": 0}}}, "neither"),
    ({"cloud": {"autoscaling": {"enabled": True, "minReplicas": 9}}}, "above maxReplicas"),
]


class Schema(unittest.TestCase):
    def test_it_is_one(self) -> None:
        jsonschema.Draft7Validator.check_schema(SCHEMA)

    def test_it_takes_the_defaults_and_every_case(self) -> None:
        for name, values in cases():
            with self.subTest(name):
                self.assertIsNone(refusal(values))

    def test_it_refuses_and_says_where(self) -> None:
        for values, word in REFUSED:
            with self.subTest(json.dumps(values)):
                message = refusal(values)
                self.assertIsNotNone(message, "taken")
                self.assertIn(word, message or "")

    def test_it_takes_the_ids_that_the_hub_gives_out(self) -> None:
        for id in ("Qwen/Qwen2.5-0.5B-Instruct", "o/m", "_o/m_", "a.b-c/d_e.f", "o/a.-b-.c"):
            for revision in ("", "main", "v1.0", "refs/pr/1", "a+b", "a--b", "0" * 40):
                with self.subTest(id=id, revision=revision):
                    self.assertIsNone(refusal(hub(id=id, revision=revision)))

    def test_it_knows_every_value_and_no_other(self) -> None:
        defaults = yaml.safe_load((CHART / "values.yaml").read_text())
        self.same_keys("", SCHEMA, defaults)

    def same_keys(self, at: str, schema: dict[str, Any], value: Any) -> None:
        schema = self.resolved(schema)
        if not isinstance(value, dict) or "properties" not in schema:
            return
        if at.endswith((".config", "podSecurityContext", "model")) and at not in ("model", ".model"):
            return
        known = set(schema["properties"]) - {"global"}
        self.assertEqual(known, set(value), at or "the top")
        for key, child in value.items():
            self.same_keys(f"{at}.{key}", schema["properties"][key], child)

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in schema:
            return SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]]
        return schema


class Configuration(unittest.TestCase):
    """`cloud.config` and `edge.config` are the servers' own configuration: every key, no other."""

    def test_the_schema_has_the_keys_of_the_shipped_configurations(self) -> None:
        for name, file in (("cloud", "cloud-service/cloud.yaml"), ("edge", "edge-agent/edge.yaml")):
            with self.subTest(name):
                shipped = yaml.safe_load((ROOT / file).read_text())
                for key in SET_BY_CHART[name]:
                    del shipped[key]
                schema = SCHEMA["properties"][name]["properties"]["config"]
                self.same_keys(name, schema, shipped)

    def test_the_schema_takes_the_shipped_defaults(self) -> None:
        for name, file in (("cloud", "cloud-service/cloud.yaml"), ("edge", "edge-agent/edge.yaml")):
            shipped = yaml.safe_load((ROOT / file).read_text())
            for key in SET_BY_CHART[name]:
                del shipped[key]
            values: Values = {name: {"config": shipped}}
            if name == "cloud":
                values["cloud"]["resources"] = {"limits": {"cpu": "4", "memory": "5Gi"}}
            self.assertIsNone(refusal(values))

    def same_keys(self, at: str, schema: dict[str, Any], shipped: dict[str, Any]) -> None:
        self.assertIs(schema["additionalProperties"], False)
        self.assertEqual(set(schema["properties"]), set(shipped), at)
        for key, value in shipped.items():
            if isinstance(value, dict):
                self.same_keys(f"{at}.{key}", schema["properties"][key], value)
