"""Writes the chart's pods as arguments of `docker run`, for scripts/test-deploy: a file for each container,
NAME.arguments with one argument a line, and the configurations that they mount.

usage: python -m chart_tests.as_containers DIRECTORY MODEL
  DIRECTORY  where the files go
  MODEL      what is mounted as the model's claim: a directory or a volume's name
"""

from __future__ import annotations

import sys
from pathlib import Path

from chart_tests.chart import Manifest, containers, named, of_kind, pods, render

MEBIBYTES = {"Mi": 1, "Gi": 1024}


def main() -> None:
    directory, model = Path(sys.argv[1]), sys.argv[2]
    manifests = render({"cloud": {"image": {"tag": "test"}}, "edge": {"image": {"tag": "test"}}})
    for config in of_kind(manifests, "ConfigMap"):
        home = directory / config["metadata"]["name"]
        home.mkdir(mode=0o755)
        for name, text in config["data"].items():
            (home / name).write_text(text)
    for _, pod in pods(manifests):
        for container in containers(pod):
            arguments = as_docker(pod, container, manifests, directory, model)
            (directory / f"{container['name']}.arguments").write_text("\n".join(arguments))


def as_docker(
    pod: Manifest, container: Manifest, manifests: list[Manifest], directory: Path, model: str
) -> list[str]:
    user = pod["spec"]["securityContext"]
    limits = container["resources"]["limits"]
    memory = int(limits["memory"][:-2]) * MEBIBYTES[limits["memory"][-2:]]
    arguments = [
        f"--user={user['runAsUser']}:{user['runAsGroup']}",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        f"--memory={memory}m",
    ]
    labels = pod["metadata"]["labels"]
    for service in of_kind(manifests, "Service"):
        if service["spec"]["selector"].items() <= labels.items():
            arguments.append(f"--network-alias={service['metadata']['name']}")
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        volume = volumes[mount["name"]]
        if "emptyDir" in volume:
            arguments.append(f"--tmpfs={mount['mountPath']}")
            continue
        source = model
        if "configMap" in volume:
            source = str(
                directory / named(manifests, "ConfigMap", volume["configMap"]["name"])["metadata"]["name"]
            )
        arguments.append(f"--volume={source}:{mount['mountPath']}:ro")
    return [*arguments, container["image"], *container["args"]]


if __name__ == "__main__":
    main()
