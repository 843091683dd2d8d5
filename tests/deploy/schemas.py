"""Writes strict JSON schemas for kubeconform from what the projects themselves publish.

    schemas.py --swagger k8s.io-kubernetes/api/openapi-spec/swagger.json --out DIR
    schemas.py --crd scaledobjects.yaml --crd certificates.yaml --out DIR

Strict means: a field that the API does not know is an error. File names are KIND-GROUP-VERSION.json, the form
`kubeconform -schema-location 'DIR/{{.ResourceKind}}{{.KindSuffix}}.json'` looks for.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

Json = dict[str, Any]
REF = "#/definitions/"
# Types that the API accepts in several JSON forms.
UNIONS: dict[str, Json] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer", "null"]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number", "null"]},
}


def close(schema: Json, definitions: Json, open_refs: tuple[str, ...] = ()) -> Json:
    """Returns `schema` with references resolved and unknown properties refused."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REF)
        if name in UNIONS:
            return UNIONS[name]
        if name in open_refs:  # JSONSchemaProps contains itself; nothing here uses it.
            return {}
        return close(definitions[name], definitions, (*open_refs, name))
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["string", "integer", "null"]}
    closed: Json = {key: schema[key] for key in ("required", "enum", "pattern", "minimum", "maximum") if key in schema}
    if "type" in schema:
        # An optional field may be written as null.
        closed["type"] = [schema["type"], "null"]
    properties = schema.get("properties")
    if properties:
        closed["properties"] = {key: close(value, definitions, open_refs) for key, value in properties.items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            closed["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        closed["additionalProperties"] = close(schema["additionalProperties"], definitions, open_refs)
    if "items" in schema:
        closed["items"] = close(schema["items"], definitions, open_refs)
    return closed


def write(out: Path, group: str, version: str, kind: str, schema: Json) -> None:
    """Writes the schema of one kind, with apiVersion and kind fixed."""
    properties = schema.setdefault("properties", {})
    properties["apiVersion"] = {"enum": [f"{group}/{version}" if group else version]}
    properties["kind"] = {"enum": [kind]}
    properties.setdefault("metadata", {"type": "object"})
    parts = [kind.lower(), group.split(".")[0], version]
    path = out / ("-".join(part for part in parts if part) + ".json")
    path.write_text(json.dumps(schema), encoding="utf-8")


def from_swagger(path: Path, out: Path) -> int:
    """Converts every kind of a Kubernetes release."""
    definitions = json.loads(path.read_text(encoding="utf-8"))["definitions"]
    count = 0
    for name, definition in definitions.items():
        kinds = definition.get("x-kubernetes-group-version-kind", [])
        if len(kinds) != 1:  # DeleteOptions and the like belong to all groups.
            continue
        write(out, kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"], close({"$ref": REF + name}, definitions))
        count += 1
    return count


def from_crd(path: Path, out: Path) -> int:
    """Converts every served version of a CustomResourceDefinition file."""
    count = 0
    # Helm templates stand around cert-manager's files; the schema itself has none.
    text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if "{{" not in line)
    for document in yaml.safe_load_all(text):
        if not document or document.get("kind") != "CustomResourceDefinition":
            continue
        spec = document["spec"]
        for version in spec["versions"]:
            schema = close(version["schema"]["openAPIV3Schema"], {})
            schema.get("properties", {}).pop("metadata", None)
            write(out, spec["group"], version["name"], spec["names"]["kind"], schema)
            count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swagger", type=Path)
    parser.add_argument("--crd", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    count = from_swagger(options.swagger, options.out) if options.swagger else 0
    count += sum(from_crd(path, options.out) for path in options.crd)
    print(f"{count} schemas in {options.out}")


if __name__ == "__main__":
    main()
