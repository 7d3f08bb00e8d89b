"""The part of `kustomize build` that deploy/k8s needs: resources, components, patches, generators.

What it does not know it refuses, so that a file cannot use what no test has built.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
_KNOWN = {
    "apiVersion", "kind", "namespace", "labels", "configMapGenerator", "resources", "components",
    "images", "patches",
}  # fmt: skip
_POD_KINDS = ("Deployment", "Job")


def build(folder: Path, kustomization: Object | None = None) -> list[Object]:
    """Return the patched objects of a kustomization, which by default is the folder's file."""
    return _apply(folder, [], kustomization)


def pod(obj: Object) -> Object:
    """Return the pod of a Deployment or Job."""
    spec: Object = obj["spec"]["template"]["spec"]
    return spec


def _apply(
    folder: Path, objects: list[Object], kustomization: Object | None = None
) -> list[Object]:
    if kustomization is None:
        text = (folder / "kustomization.yaml").read_text(encoding="utf-8")
        kustomization = yaml.safe_load(text)
        assert kustomization
    assert kustomization.keys() <= _KNOWN, f"{folder}: {kustomization.keys() - _KNOWN}"
    for name in kustomization.get("resources", []):
        path = (folder / name).resolve()
        if path.is_dir():
            objects += build(path)
        else:
            objects += [o for o in yaml.safe_load_all(path.read_text(encoding="utf-8")) if o]
    for generator in kustomization.get("configMapGenerator", []):
        _config_map(folder, generator, objects)
    for name in kustomization.get("components", []):
        objects = _apply((folder / name).resolve(), objects)
    for patch in kustomization.get("patches", []):
        _patch(folder, patch, objects)
    _everywhere(kustomization, objects)
    return objects


def _everywhere(kustomization: Object, objects: list[Object]) -> None:
    """Set labels, images and the namespace everywhere."""
    for obj in objects:
        for labels in kustomization.get("labels", []):
            assert labels["includeTemplates"] is True
            obj["metadata"].setdefault("labels", {}).update(labels["pairs"])
            if obj["kind"] in _POD_KINDS:
                obj["spec"]["template"]["metadata"]["labels"].update(labels["pairs"])
        for image in kustomization.get("images", []):
            spec = pod(obj) if obj["kind"] in _POD_KINDS else {}
            for container in spec.get("containers", []) + spec.get("initContainers", []):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"
        if "namespace" in kustomization:
            obj["metadata"]["namespace"] = kustomization["namespace"]


def _config_map(folder: Path, generator: Object, objects: list[Object]) -> None:
    lines = [
        line
        for name in generator["envs"]
        for line in (folder / name).read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    data = dict(line.split("=", 1) for line in lines)
    if generator.get("behavior") == "merge":
        (old,) = [
            o
            for o in objects
            if o["kind"] == "ConfigMap" and o["metadata"]["name"] == generator["name"]
        ]
        old["data"].update(data)
    else:
        metadata = {"name": generator["name"]}
        objects.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        )


def _patch(folder: Path, patch: Object, objects: list[Object]) -> None:
    target = patch["target"]
    assert target.keys() <= {"kind", "name", "labelSelector"}, target
    hit = [o for o in objects if _is_target(o, target)]
    assert hit, f"{folder}: nothing matches {target}"
    text = patch.get("patch")
    if not text:
        path = (folder / patch["path"]).resolve()
        assert path.is_relative_to(folder.resolve()), f"kustomize refuses {path}"
        text = path.read_text(encoding="utf-8")
    change = yaml.safe_load(text)
    for obj in hit:
        if isinstance(change, list):  # JSON 6902
            for step in change:
                assert step["op"] == "remove", step
                *parents, last = step["path"].strip("/").split("/")
                inner = obj
                for key in parents:
                    inner = inner[key]
                del inner[last]
        else:
            wanted = {
                k: v for k, v in change.items() if k not in ("apiVersion", "kind", "metadata")
            }
            _merge(obj, wanted)


def _is_target(obj: Object, target: Object) -> bool:
    metadata = obj["metadata"]
    labels = [f"{k}={v}" for k, v in metadata.get("labels", {}).items()]
    return (
        re.fullmatch(target.get("kind", ".*"), obj["kind"]) is not None
        and re.fullmatch(target.get("name", ".*"), metadata["name"]) is not None
        and target.get("labelSelector", (labels or [""])[0]) in (labels or [""])
    )


def _merge(obj: Object, change: Object) -> None:
    """Strategic merge: maps by key, lists of named things by name, all else replaced."""
    for key, value in change.items():
        old = obj.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value)
        elif isinstance(old, list) and all(isinstance(v, dict) and "name" in v for v in value):
            by_name = {v["name"]: v for v in old}
            for new in value:
                if new["name"] in by_name:
                    _merge(by_name[new["name"]], new)
                else:
                    old.append(copy.deepcopy(new))
        else:
            obj[key] = copy.deepcopy(value)
