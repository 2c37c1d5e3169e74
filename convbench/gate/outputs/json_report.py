"""A report as JSON, as the schema beside this file (report.schema.json) publishes it."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from convbench.gate.report import Check, Judgement, Report, Side, Verdict

SCHEMA_VERSION = 1


def text(report: Report) -> str:
    """One JSON object: the verdict, the rules, the conditions of measurement, both sides and every check.

    JSON has no NaN and no infinity: they are the strings "NaN", "Infinity" and "-Infinity". Names are as they are in
    `Check`, `Side` and `Policy`; a number that does not exist is null.
    """
    return json.dumps(_document(report), indent=1, allow_nan=False) + "\n"


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that `text` keeps."""
    return json.loads(Path(__file__).with_name("report.schema.json").read_text(encoding="utf-8"))


def _document(report: Report) -> dict[str, Any]:
    checks = [check for judgement in report.judgements for check in judgement.checks]
    return {
        "schema_version": SCHEMA_VERSION,
        "version": report.version,
        **_decision(report),
        "worst": _worst(report),
        "counts": _counts(checks),
        "policy": {field.name: _plain(getattr(report.policy, field.name)) for field in fields(report.policy)},
        "fingerprint": _plain(report.fingerprint),
        "baseline": _side(report.baseline),
        "candidates": [_candidate(one) for one in report.each],
    }


def _decision(report: Report) -> dict[str, Any]:
    return {"verdict": report.verdict.value, "passed": report.passed, "exit_code": report.exit_code}


def _worst(report: Report) -> dict[str, Any] | None:
    if report.worst is None:
        return None
    judgement, check = report.worst
    names = ("kind", "metric", "corruption", "severity", "layer", "change")
    return {"arm": judgement.candidate.label, **{name: _plain(getattr(check, name)) for name in names}}


def _counts(checks: list[Check] | tuple[Check, ...]) -> dict[str, int]:
    found = dict.fromkeys((verdict.value for verdict in Verdict), 0)
    for check in checks:
        found[check.verdict.value] += 1
    return found


def _candidate(report: Report) -> dict[str, Any]:
    judgement: Judgement = report.judgements[0]
    return {
        **_side(judgement.candidate),
        "paired": bool(judgement.paired),
        **_decision(report),
        "counts": _counts(judgement.checks),
        "notes": list(judgement.notes),
        "checks": [_check(report, check) for check in judgement.checks],
    }


def _check(report: Report, check: Check) -> dict[str, Any]:
    names = [field.name for field in fields(check)]
    return {
        "name": check.name,
        **{name: _plain(getattr(check, name)) for name in names},
        "fails": bool(report.fails(check)),
    }


def _side(side: Side) -> dict[str, Any]:
    return {field.name: _plain(getattr(side, field.name)) for field in fields(side)}


def _plain(value: Any) -> Any:
    """`value` in the types of JSON: mappings, lists, strings, numbers (of NumPy too), true, false, null."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        if math.isnan(number):
            return "NaN"
        return number if math.isfinite(number) else "Infinity" if number > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)
