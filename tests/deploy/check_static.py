"""Checks of deployment files that no ready-made judge does.

Every metric named by a rule or the dashboard is exported by server/metrics; every alert has a runbook section and a unit
test; the values pass their own schema and wrong ones do not; every package and image is pinned.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/synthvol"
problems: list[str] = []


def check(condition: bool, message: str) -> None:
    """Records a problem; all are printed at the end."""
    if not condition:
        problems.append(message)


def metric_names(expression: str) -> set[str]:
    """Returns the names of our metrics in a PromQL expression, without what Prometheus adds to a histogram's."""
    names = re.findall(r"\bsynthvol[a-z0-9_:]*", re.sub(r'"[^"]*"', "", expression))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def check_metrics(rules: dict[str, Any], dashboard: dict[str, Any]) -> None:
    """Compares names in rules and dashboard with what the server's source registers."""
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "server/metrics").glob("*.cc")))
    exported = set(re.findall(r'"(synthvol_[a-z0-9_]+)"', source))
    check(bool(exported), "server/metrics registers no metric")
    every_rule = [rule for group in rules["groups"] for rule in group["rules"]]
    known = exported | {rule["record"] for rule in every_rule if "record" in rule}
    expressions = {rule.get("record") or rule["alert"]: rule["expr"] for rule in every_rule}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expressions[f"dashboard panel '{panel['title']}' {target['refId']}"] = target["expr"]
    for where, expression in expressions.items():
        for name in sorted(metric_names(expression) - known):
            problems.append(f"{where}: {name} is not exported by server/metrics")
    for template in ("hpa.yaml", "scaledobject.yaml", "_helpers.tpl"):
        text = (CHART / "templates" / template).read_text(encoding="utf-8")
        for name in re.findall(r"\bsynthvol_[a-z_]+_seconds\b", text):
            check(name in exported, f"templates/{template}: {name} is not exported by server/metrics")


def check_alerts(rules: dict[str, Any]) -> None:
    """Every alert has its runbook section and fires in a unit test."""
    runbook = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    sections = {line.lstrip("# ").strip().lower() for line in runbook.splitlines() if line.startswith("#")}
    tests = yaml.safe_load((ROOT / "tests/deploy/rules_test.yaml").read_text(encoding="utf-8"))["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                name = rule["alert"]
                check(name.lower() in sections, f"docs/operations.md has no section '{name}'")
                check(rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}", f"{name}: wrong runbook link")
                check(name in fired, f"{name} never fires in tests/deploy/rules_test.yaml")


def check_dashboard(dashboard: dict[str, Any]) -> None:
    """Panels say what they show, have distinct ids and do not overlap."""
    panels = dashboard["panels"]
    check(len({panel["id"] for panel in panels}) == len(panels), "dashboard: two panels share an id")
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        check(not cells & taken, f"dashboard: panel '{panel['title']}' overlaps another")
        taken |= cells
        check(panel["type"] == "row" or bool(panel["description"]), f"dashboard: '{panel['title']}' has no description")


def merged(base: Any, over: Any) -> Any:
    """Merges values as Helm does: objects by key, anything else replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {key: merged(base.get(key), over[key]) if key in over else base[key] for key in {**base, **over}}
    return over


def check_values() -> None:
    """The defaults and ci/*.yaml pass values.schema.json; misspelled and contradictory ones do not."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for path in [None, *sorted((CHART / "ci").glob("*.yaml"))]:
        over = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {}
        for error in validator.iter_errors(merged(defaults, over)):
            problems.append(f"{path or 'values.yaml'}: {error.json_path}: {error.message}")
    wrong: list[dict[str, Any]] = [
        {"replicaCuont": 1},
        {"autoscaling": {"mode": "both"}},
        {"strategy": {"maxSurge": 0, "maxUnavailable": 0}},
        {"models": {"source": "s3"}},
        {"bulk": {"enabled": True}},
        {"bulk": {"seed": 2**32}},
        {"trainer": {"enabled": True, "dataClaim": "d"}},
        # One process in each pod uses one GPU.
        {"trainer": {"enabled": True, "dataClaim": "d", "outputClaim": "o", "gpus": 8}},
        {"image": {"digest": "sha256:1"}},
        {"drain": {"longestVolumeSeconds": 0}},
        {"securityUser": 0},
    ]
    for over in wrong:
        check(not validator.is_valid(merged(defaults, over)), f"values.schema.json lets {over} through")
    undocumented = set(defaults) - set(schema["properties"])
    check(not undocumented, f"values.yaml has keys without schema: {sorted(undocumented)}")


def check_pins() -> None:
    """Debian packages carry version and hash; images of the compose file carry a version."""
    lock = (ROOT / "deploy/image/packages.lock").read_text(encoding="utf-8").splitlines()
    entries = [line for line in lock if line and not line.startswith("#")]
    check(bool(entries), "deploy/image/packages.lock is empty")
    for line in entries:
        check(bool(re.fullmatch(r"[0-9a-f]{64} [a-z0-9.+-]+ [^ ]+ (amd64|all) [a-z,]+", line)), f"packages.lock: '{line}' is not pinned")
    locked = {line.split()[1] for line in entries}
    for package in (ROOT / "scripts/requirements/apt-build.txt").read_text(encoding="utf-8").splitlines():
        named = bool(package) and not package.startswith("#")
        check(not named or package in locked, f"packages.lock lacks {package}: run deploy/image/lock-packages")
    compose = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text(encoding="utf-8"))
    for name, service in compose["services"].items():
        image = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", service["image"])
        check(":" in image and not image.endswith(":latest"), f"compose service {name}: image '{image}' has no version")


def main() -> int:
    rules = yaml.safe_load((CHART / "files/rules.yaml").read_text(encoding="utf-8"))
    dashboard = json.loads((CHART / "files/dashboard.json").read_text(encoding="utf-8"))
    check_metrics(rules, dashboard)
    check_alerts(rules)
    check_dashboard(dashboard)
    check_values()
    check_pins()
    for problem in problems:
        print(f"FAIL {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
