"""CSV, JSON, JUnit, OpenMetrics and benchmark history by hand; that any report is readable is tested elsewhere."""

import csv
import io
import math
import re
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from junitparser import JUnitXml

from convbench.cli.gating import KINDS
from convbench.gate.outputs import gha_benchmark, gha_benchmark_smaller, gitlab_metrics, json_report, junit, tidy
from convbench.gate.policy import Policy
from convbench.gate.report import Check, Kind, Verdict
from tests.gate.outputs.reading import samples, strict_json
from tests.gate.reports import SITUATIONS, aggregate, bound, clean, condition, judgement, regressed, report, several

ROOT = Path(__file__).parents[3]


def test_pandas_reads_the_csv_back():
    frame = pd.read_csv(
        io.StringIO(tidy.text(regressed())), dtype={"severity": str}, keep_default_na=False, na_values=""
    )
    assert list(frame.columns) == list(tidy.COLUMNS)
    assert len(frame) == len(regressed().judgements[0].checks)
    worst = frame[frame.metric == "mean_corrupted_accuracy"].iloc[0]
    assert (worst.against, worst.arm, worst.verdict) == ("main@1a2b3c", "pr@4d5e6f", "REGRESSED")
    assert (worst.baseline, worst.change, worst.margin) == (0.7402, -0.0078, 0.005)
    assert np.isnan(worst.p)


def test_the_csv_has_every_field_of_a_check_but_the_number_of_runs():
    assert {field.name for field in fields(Check)} - set(tidy.COLUMNS) == {"runs"}


def test_rows_of_several_candidates_are_told_apart():
    rows = list(csv.DictReader(io.StringIO(tidy.text(several()))))
    assert list(dict.fromkeys(row["arm"] for row in rows)) == ["pr-1", "pr-2", "pr-3"]


def test_numbers_of_numpy_are_plain_numbers():
    check = aggregate(baseline=np.float64(0.5), n=np.int64(7), candidate=np.float32(0.25), verdict=Verdict.HELD)
    one = report(judgement(check, paired=np.bool_(True)), fingerprint={"n": np.int64(7), "x": np.float64(math.inf)})
    assert ",7,0.5,0.25," in tidy.text(one)
    document = strict_json(json_report.text(one))
    assert document["fingerprint"] == {"n": 7, "x": "Infinity"}
    assert document["candidates"][0]["checks"][0]["candidate"] == 0.25


def test_the_schema_is_one_and_refuses_what_is_not_written():
    schema = json_report.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    document = strict_json(json_report.text(regressed()))
    validator.validate(document)
    for change in ({"verdict": "FINE"}, {"exit_code": 2}, {"schema_version": 2}, {"more": 1}, {"counts": {}}):
        assert not validator.is_valid(document | change), change
    check = document["candidates"][0]["checks"][0]
    for change in ({"change": "nan"}, {"change": True}, {"n": -1}, {"scale": "pp"}, {"gated": 1}, {"more": 1}):
        changed = document | {"candidates": [document["candidates"][0] | {"checks": [check | change]}]}
        assert not validator.is_valid(changed), change


def test_the_schema_describes_every_field():
    schema = json_report.schema()
    assert schema["$defs"]["check"]["properties"].keys() == {f.name for f in fields(Check)} | {"name", "fails"}
    assert schema["$defs"]["policy"]["properties"].keys() == {field.name for field in fields(Policy)}
    assert schema["$defs"]["verdict"]["enum"] == [verdict.value for verdict in Verdict]
    assert schema["$defs"]["check"]["properties"]["kind"]["enum"] == [kind.value for kind in Kind]


def test_the_schema_is_installed_with_the_package():
    assert files("convbench.gate.outputs").joinpath("report.schema.json").is_file()


def test_json_has_no_nan():
    document = strict_json(json_report.text(SITUATIONS["broken"]()))
    numbers = [check["candidate"] for check in document["candidates"][0]["checks"]]
    assert numbers == [0.9171, "NaN", None, pytest.approx(0.683)]
    assert document["worst"]["change"] == "NaN"


def cases(xml: str) -> dict[tuple[str, str], list[str]]:
    suites = JUnitXml.fromstring(xml.encode())
    return {(case.classname, case.name): [type(r).__name__ for r in case.result] for suite in suites for case in suite}


def test_junit_outcomes_by_verdict():
    checks = {verdict: condition(verdict.value, 5, verdict=verdict, gated=True) for verdict in Verdict}
    found = cases(junit.text(report(judgement(*checks.values()))))
    assert {name.removesuffix("@5"): outcome for (_, name), outcome in found.items()} == {
        "BROKEN": ["Error"], "REGRESSED": ["Failure"], "MISSING": ["Failure"], "SUSPECT": ["Skipped"],
        "UNDERPOWERED": ["Skipped"], "NEW": ["Skipped"], "HELD": [], "IMPROVED": [],
    }  # fmt: skip
    assert {classname for classname, _ in found} == {"convbench.accuracy"}


def test_junit_fails_exactly_what_the_gate_fails():
    checks = condition("fog", 5, gated=False), condition("snow", 5, gated=True, verdict=Verdict.SUSPECT)
    found = cases(junit.text(report(judgement(*checks), policy=Policy(fail_on=("suspect",)))))
    assert list(found.values()) == [["Skipped"], ["Failure"]]


def test_junit_names_are_distinct():
    floor = clean(kind=Kind.FLOOR)
    checks = [
        clean(),
        floor,
        aggregate(),
        replace(aggregate(), kind=Kind.FLOOR),
        bound(),
        *regressed().judgements[0].checks[5:],
    ]
    names = cases(junit.text(report(judgement(*checks))))
    assert len(names) == len(checks)
    assert ("convbench.accuracy", "glass_blur@5") in names
    assert ("convbench.accuracy", "floor of clean") in names
    assert ("convbench.mean_corrupted_accuracy", "all") in names
    assert ("convbench.lipschitz_upper_product", "network") in names


def test_open_metrics_by_hand():
    read = samples(gitlab_metrics.text(regressed()))
    assert read['convbench_value{metric="mean_corrupted_accuracy",corruption="all",severity="all"}'] == 0.7324
    assert read['convbench_value{metric="accuracy",corruption="none",severity="0"}'] == 0.9171
    assert read['convbench_value{metric="lipschitz_upper_product"}'] == 3.2e6
    assert read['convbench_value{metric="spectral_norm",layer="conv1"}'] == pytest.approx(2.45)
    assert read['convbench_verdicts{verdict="SUSPECT"}'] == 7
    assert read["convbench_gate_passed"] == 0


def test_open_metrics_of_several_candidates_carry_their_label():
    read = samples(gitlab_metrics.text(several()))
    names = [name for name in read if 'metric="accuracy",corruption="none"' in name]
    assert [name.split('"')[1] for name in names] == ["pr-1", "pr-2", "pr-3"]


def test_open_metrics_escape_and_write_what_is_not_finite():
    odd = [
        aggregate(metric='a"b\\c'),
        aggregate(metric="x", candidate=-math.inf),
        aggregate(metric="y", candidate=math.nan),
    ]
    lines = gitlab_metrics.text(report(judgement(*odd))).splitlines()
    labels = ',corruption="all",severity="all"}'
    assert lines[2:5] == [
        f'convbench_value{{metric="a\\"b\\\\c"{labels} 0.7324',
        f'convbench_value{{metric="x"{labels} -Inf',
        f'convbench_value{{metric="y"{labels} NaN',
    ]


def test_benchmark_history_by_direction():
    bigger, smaller = (strict_json(module.text(regressed())) for module in (gha_benchmark, gha_benchmark_smaller))
    assert [(entry["name"], entry["unit"], entry["value"]) for entry in bigger] == [
        ("clean accuracy", "%", 91.71), ("mean corrupted accuracy", "%", 73.24),
    ]  # fmt: skip
    assert [(entry["name"], entry["unit"], entry["value"]) for entry in smaller] == [
        ("ece", "1", 0.033), ("lipschitz upper product", "1", 3.2e6),
    ]  # fmt: skip
    assert bigger[1]["extra"].startswith("REGRESSED: 74.02 -> 73.24")


def test_benchmark_history_of_several_candidates_has_distinct_names():
    names = [entry["name"] for entry in strict_json(gha_benchmark.text(several()))]
    assert names[0] == "pr-1: clean accuracy"
    assert len(set(names)) == len(names) == 6


def test_the_documentation_names_every_kind_and_column_and_links_the_schema():
    page = (ROOT / "docs" / "compare-outputs.md").read_text()
    columns = page[page.index("## CSV") : page.index("## JSON")]
    assert [name for name in re.findall(r"`([a-z_]+)`", columns) if name in tidy.COLUMNS][: len(tidy.COLUMNS)] == list(
        tidy.COLUMNS
    )
    for module in (
        "markdown",
        "tidy",
        "json_report",
        "junit",
        "gitlab_metrics",
        "gha_benchmark",
        "gha_benchmark_smaller",
    ):
        kind = next(kind for kind, made_by in KINDS.items() if made_by == module)
        assert f"`{kind}`" in page
    (link,) = re.findall(r"\]\((\S+schema\.json)\)", page)
    assert (ROOT / "docs" / link).resolve().is_file()
