"""The chart, rendered by Helm's own engine."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any, Iterator

import helm_python
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "tandem"
EXAMPLES = {path.stem: path for path in sorted((CHART / "examples").glob("*.yaml"))}

Values = dict[str, Any]
Manifest = dict[str, Any]

GIGABYTES = {
    "path": "model.safetensors",
    "url": "https://models.example.internal/model.safetensors",
    "sha256": "0" * 64,
}
MONITORED: Values = {
    "monitoring": {
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    }
}

ISSUED: Values = {"enabled": True, "issuerRef": {"name": "i"}}

# Ways to use the chart beyond the examples, each the shortest that gets there.
VARIANTS: dict[str, Values] = {
    "default": {},
    "monitored": MONITORED,
    "cloud only": {"edge": {"enabled": False}},
    "edge only": {"cloud": {"enabled": False}, "edge": {"cloud": "http://cloud:50051"}},
    "model in a claim's directory": {"model": {"claim": {"subPath": "a/b"}}},
    "model in an image": {"model": {"source": "image", "image": {"reference": "models/m:1"}}},
    "model fetched": {"model": {"source": "download", "download": {"files": [GIGABYTES]}}},
    "model fetched once": {
        "model": {
            "source": "download",
            "download": {"files": [GIGABYTES], "claim": "c", "headerSecret": {"name": "s"}},
        }
    },
    "model of the hub": {"model": {"source": "hub", "hub": {"id": "Qwen/Qwen2.5-0.5B-Instruct"}}},
    "model of a mirror": {
        "model": {
            "source": "hub",
            "hub": {
                "id": "meta-llama/Llama-3.2-3B-Instruct",
                "revision": "0" * 40,
                "claim": "models",
                "endpoint": "http://mirror.place:8080/hub",
                "tokenSecret": {"name": "hugging-face"},
            },
        }
    },
    "GGUF file in a claim": {"model": {"file": "model.gguf"}},
    "GGUF file in an image": {
        "model": {
            "source": "image",
            "image": {"reference": "models/m:1"},
            "file": "q8_0/m.gguf",
            "import": {"claim": "imports"},
        }
    },
    "GGUF file on the nodes": {
        "edge": {"model": {"source": "hostPath", "hostPath": "/models/m", "file": "m.gguf"}}
    },
    "GGUF file fetched": {
        "model": {
            "source": "download",
            "file": "m.gguf",
            "download": {"files": [{**GIGABYTES, "path": "m.gguf"}]},
        }
    },
    "two models' places": {"edge": {"model": {"source": "hostPath", "hostPath": "/models/m"}}},
    "autoscaled by CPU and sessions": {"cloud": {"autoscaling": {"enabled": True, "sessions": 40}}},
    "recreated": {
        "cloud": {"strategy": {"type": "Recreate"}},
        "edge": {"kind": "DaemonSet", "updateStrategy": {"type": "OnDelete"}},
    },
    "agents on every node's port": {"edge": {"kind": "DaemonSet", "hostPort": 50050}},
    "open to the outside": {
        "cloud": {"service": {"type": "LoadBalancer"}},
        "edge": {"service": {"type": "NodePort", "nodePort": 30050}},
    },
    "with OpenAI's API": {"edge": {"openai": {"enabled": True, "port": 80}}},
    "behind an Ingress": {
        "edge": {"openai": {"enabled": True, "ingress": {"enabled": True, "hosts": ["e.example", "*.f.example"]}}},
    },
    "with TLS": {"cloud": {"tls": {"existingSecret": "c"}}, "edge": {"tls": {"existingSecret": "e"}}},
    "with TLS of a public authority": {
        "cloud": {"tls": {"existingSecret": "c", "publicAuthority": True, "serverName": "c.example"}},
        "edge": {"tls": {"existingSecret": "e", "publicAuthority": True, "serverName": "e.example"}},
    },
    "with certificates on all sides and tokens": {
        "cloud": {
            "tls": {"existingSecret": "c", "clientCaSecret": "edges"},
            "auth": {"existingSecret": "c-tokens"},
        },
        "edge": {
            "tls": {"existingSecret": "e", "clientCaSecret": "clients"},
            "auth": {"existingSecret": "e-tokens"},
            "openai": {"enabled": True},
            "cloudTls": {"existingSecret": "e-own", "serverName": "c.example"},
            "cloudToken": {"existingSecret": "e-token"},
        },
        "test": {"certificateSecret": "t", "tokenSecret": "t-token"},
    },
    "with cert-manager": {
        "cloud": {"tls": {"certManager": ISSUED, "clientCaSecret": "demo-tandem-edge-client"}},
        "edge": {"tls": {"certManager": ISSUED}, "cloudTls": {"certManager": ISSUED}},
    },
    "with a public authority's certificates, kept": {
        "cloud": {
            "tls": {
                "certManager": {**ISSUED, "dnsNames": ["c.example", "d.example"]},
                "publicAuthority": True,
                "serverName": "c.example",
            }
        },
    },
    "with TLS to a cloud elsewhere": {
        "cloud": {"enabled": False},
        "edge": {"cloud": "https://c.example:443", "cloudTls": {"caSecret": "ca"}},
    },
    "with tokens on a trusted network": {
        "cloud": {"auth": {"existingSecret": "c-tokens"}},
        "edge": {"tls": {"existingSecret": "e"}, "cloudToken": {"existingSecret": "e-token"}},
    },
    "with a GPU": {"cloud": {"gpu": {"count": 2}}},
    "exact": {
        "cloud": {"config": {"sessions": {"stall": "10s"}, "limits": {"accept_profiles": "auto"}}},
        "edge": {"config": {"preset": "exact"}},
    },
    "weights by layer": {"edge": {"config": {"weights": "int4,0-1=int8,head=f32", "kv": "f32"}}},
    "IPv6 only": {"bindAddress": "[::]"},
    "nothing optional": {
        "networkPolicy": {"enabled": False},
        "cloud": {
            "preStopSeconds": 0,
            "podDisruptionBudget": {"enabled": False},
            "topologySpreadConstraints": [],
        },
        "edge": {"podDisruptionBudget": {"enabled": False}, "topologySpreadConstraints": []},
    },
    "everything optional": {
        "imagePullSecrets": [{"name": "registry"}],
        "networkPolicy": {"kubelet": ["10.0.0.0/24", "fd00::/64"]},
        "cloud": {
            "env": [{"name": "RUST_LOG", "value": "debug"}],
            "image": {"digest": "sha256:" + "a" * 64},
            "podLabels": {"team": "a", "app.kubernetes.io/name": "mine"},
            "podAnnotations": {"a": "b"},
            "serviceAccount": {"annotations": {"a": "b"}},
            "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
            "runtimeClassName": "gvisor",
        },
    },
}


def cases() -> Iterator[tuple[str, Values]]:
    """Every variant and every example, with its name."""
    yield from VARIANTS.items()
    for name, path in EXAMPLES.items():
        yield name, yaml.safe_load(path.read_text())


@functools.cache
def chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def trusting(values: Values) -> Values:
    """These values on a network that they trust, unless they say otherwise."""
    return {"insecure": True, **values}


def render(values: Values, *, name: str = "demo") -> list[Manifest]:
    """The manifests, hooks included, as Helm would send them to a cluster whose network is trusted."""
    return copy.deepcopy(_render(json.dumps(trusting(values)), name))


@functools.cache
def _render(values: str, name: str) -> list[Manifest]:
    files = chart().render(json.loads(values), name=name, namespace="place")
    manifests: list[Manifest] = []
    for path, text in files.items():
        if path.endswith((".yaml", ".yml")):
            manifests += [document for document in yaml.load_all(text, NoTwins) if document]
    return manifests


def notes(values: Values) -> str:
    files = chart().render(trusting(values), name="demo", namespace="place")
    return next(text for path, text in files.items() if path.endswith("NOTES.txt"))


def refusal(values: Values) -> str | None:
    """What Helm says against these values, on a network that is trusted; None if it takes them."""
    values = trusting(values)
    try:
        chart().validate_schema(values)
        chart().render(values, name="demo", namespace="place")
    except helm_python.HelmError as error:
        return str(error)
    return None


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    found = [m for m in of_kind(manifests, kind) if m["metadata"]["name"] == name]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} of kind {kind} are called {name}")
    return found[0]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The name and the pod (metadata, spec) of everything that becomes one."""
    for manifest in manifests:
        name = f"{manifest['kind']}/{manifest['metadata']['name']}"
        if manifest["kind"] in ("Deployment", "DaemonSet"):
            yield name, manifest["spec"]["template"]
        elif manifest["kind"] == "Pod":
            yield name, manifest


def containers(pod: Manifest) -> list[Manifest]:
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


class NoTwins(yaml.SafeLoader):
    """YAML in which no key comes twice: Kubernetes would take the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twins = {key for key in keys if keys.count(key) > 1}
        if twins:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {twins}", node.start_mark)
        return super().construct_mapping(node, deep)
