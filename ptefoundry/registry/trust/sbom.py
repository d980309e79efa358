"""CycloneDX 1.6 bills of materials (ML-BOM): models, files and packages of a version.

Specification: CycloneDX 1.6 JSON schema. The bundle and each adapter are models with the
base as their ancestor. No times, and the serial number follows from the version's digest:
the same version has the same bill.
"""

import importlib.metadata
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ptefoundry.digest import canonical_json
from ptefoundry.registry.trust.build_record import BuildRecord, Source

MEDIA_TYPE = "application/vnd.cyclonedx+json"
_NAMESPACE = uuid.UUID("5a0d3f5e-7c0b-5a57-9a38-6d2b6f0f1c11")
_BUNDLE, _BASE = "bundle", "base"
#: Packages whose code runs with the programs; the others only build them.
_RUNTIME = frozenset({"executorch"})


def make_sbom(record: BuildRecord, *, base_license: str | None = None) -> bytes:
    """The bill of a version, canonical JSON.

    Args:
        record: what the version was built of.
        base_license: of the base, an SPDX expression or any name; None if not known.
    """
    base = _model(_BASE, record.base, {}) | _licenses(base_license)
    adapters = [
        _model(f"adapter/{adapter.name}", adapter, base) | {"description": "PEFT LoRA adapter"}
        for adapter in record.adapters
    ]
    files = [_file(path, sha256) for path, sha256 in sorted(record.version.files.items())]
    packages = [_package(name, version) for name, version in record.packages]
    bundle = _bundle(record, base)
    components = [base, *adapters, *files, *packages]
    return canonical_json(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, record.version.index)}",
            "version": 1,
            "metadata": {
                "component": bundle,
                "tools": {
                    "components": [
                        {
                            "type": "application",
                            "name": "ptefoundry",
                            "version": importlib.metadata.version("ptefoundry"),
                        }
                    ]
                },
            },
            "components": components,
            "dependencies": _dependencies(components),
        }
    )


def _bundle(record: BuildRecord, base: Mapping[str, Any]) -> dict[str, Any]:
    version = record.version
    return {
        "bom-ref": _BUNDLE,
        "type": "machine-learning-model",
        "name": version.name,
        "version": version.version,
        "description": "ExecuTorch programs of a base model and its LoRA adapters",
        "hashes": _hashes(version.index.removeprefix("sha256:")),
        "modelCard": _model_card(),
        "pedigree": _descends_from(base),
        "properties": [
            {"name": "org.ptefoundry:index", "value": version.index},
            *({"name": "org.ptefoundry:variant", "value": item} for item in version.variants),
        ],
    }


def _model(ref: str, source: Source, base: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "bom-ref": ref,
        "type": "machine-learning-model",
        "name": source.name,
        "modelCard": _model_card(),
        "properties": [{"name": "org.ptefoundry:source", "value": source.source}],
    }
    if source.sha256 is not None:
        described["hashes"] = _hashes(source.sha256)
    if base:
        described["pedigree"] = _descends_from(base)
    return described


def _model_card() -> dict[str, Any]:
    text = [{"format": "text"}]
    return {
        "modelParameters": {
            "task": "text-generation",
            "architectureFamily": "transformer",
            "inputs": text,
            "outputs": text,
        }
    }


def _descends_from(base: Mapping[str, Any]) -> dict[str, Any]:
    """The base by name and digest; references must not be used twice."""
    kept = ("type", "name", "hashes", "licenses")
    return {"ancestors": [{key: base[key] for key in kept if key in base}]}


def _file(path: str, sha256: str) -> dict[str, Any]:
    return {"bom-ref": f"file/{path}", "type": "file", "name": path, "hashes": _hashes(sha256)}


def _package(name: str, version: str) -> dict[str, Any]:
    url = f"pkg:pypi/{quote(name.lower())}@{quote(version)}"
    return {
        "bom-ref": url,
        "type": "library",
        "name": name,
        "version": version,
        "purl": url,
        "scope": "required" if name in _RUNTIME else "excluded",
    }


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _licenses(text: str | None) -> dict[str, Any]:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if text is None:
        return {}
    try:
        return {"licenses": [{"expression": str(canonicalize_license_expression(text))}]}
    except InvalidLicenseExpression:
        return {"licenses": [{"license": {"name": text}}]}


def _dependencies(components: list[dict[str, Any]]) -> list[dict[str, Any]]:
    refs = [component["bom-ref"] for component in components]
    adapters = [ref for ref in refs if ref.startswith("adapter/")]
    return [
        {"ref": _BUNDLE, "dependsOn": sorted(refs)},
        *({"ref": ref, "dependsOn": [_BASE]} for ref in adapters),
    ]
