"""Whatever a report holds: every output is made, keeps its format and its limits, and says the same verdict."""

import csv
import io
import math
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
import xmlschema
from hypothesis import given, settings
from junitparser import Error, Failure, JUnitXml, Skipped
from rich.cells import cell_len

from convbench.gate.outputs import (
    gha_benchmark,
    gha_benchmark_smaller,
    github,
    gitlab_metrics,
    json_report,
    junit,
    markdown,
    terminal,
    tidy,
)
from convbench.gate.report import Kind, Report, Verdict
from tests.gate.outputs.reading import annotation_lines, page, samples, strict_json
from tests.gate.outputs.strategies import reports
from tests.gate.reports import SITUATIONS

MANY = settings(max_examples=100)
JENKINS = xmlschema.XMLSchema(str(Path(__file__).with_name("jenkins_junit.xsd")))
SCHEMA = jsonschema.Draft202012Validator(json_report.schema())
VERDICTS = {verdict.value for verdict in Verdict}
OUR_TAGS = {
    "h3", "h4", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "details", "summary",
    "blockquote", "ul", "li", "br",
}  # fmt: skip


def all_checks(report: Report):
    return [check for judgement in report.judgements for check in judgement.checks]


def failures(report: Report) -> int:
    """Counted anew, not by the report itself."""
    return sum(check.gated and check.verdict.value.lower() in report.policy.fail_on for check in all_checks(report))


def check_terminal(report: Report) -> None:
    text = terminal.text(report)
    assert text.isascii()
    assert not {c for c in text if ord(c) < 32} - {"\n"}
    assert text.startswith(report.verdict.value)
    words = " ".join(text.split())
    assert ("Gate passed." in words) is (report.exit_code == 0)
    assert ("Gate failed" in words) is (report.exit_code == 1)
    for shown in (text, terminal.text(report, encoding="utf-8"), terminal.text(report, encoding="cp1252")):
        assert max(map(cell_len, shown.split("\n"))) <= 80


def check_markdown(report: Report) -> None:
    text = markdown.text(report)
    assert len(text.encode()) <= markdown.LIMIT
    shown = page(text)
    assert shown.headings[0].startswith(f"convbench: {report.verdict.value}")
    assert len(shown.headings) == 1 + (len(report.judgements) > 1) * len(report.judgements)
    assert shown.tags <= OUR_TAGS
    assert ("Gate passed." in shown.text) is (report.exit_code == 0)
    rows = []
    for header, *body in shown.tables:
        assert header[-1] == "verdict"
        assert all(len(row) == len(header) for row in body)
        rows += body
    verdicts = Counter(row[-1].split(":")[0].split(",")[0] for row in rows)
    assert verdicts == Counter(check.verdict.value for check in all_checks(report))


def check_csv(report: Report) -> None:
    text = tidy.text(report)
    text.encode()
    rows = list(csv.DictReader(io.StringIO(text), strict=True))
    checks = all_checks(report)
    assert len(rows) == len(checks)
    for row, check in zip(rows, checks, strict=True):
        assert row["verdict"] == check.verdict.value
        assert row["gated"] == str(check.gated).lower()
        for name in ("baseline", "candidate", "change", "low", "high", "p", "margin", "detectable"):
            number = getattr(check, name)
            read = float(row[name]) if row[name] else None
            assert read == number or (math.isnan(read) and math.isnan(number))


def check_json(report: Report) -> None:
    document = strict_json(json_report.text(report))
    SCHEMA.validate(document)
    assert (document["verdict"], document["exit_code"]) == (report.verdict.value, report.exit_code)
    assert document["passed"] is (failures(report) == 0)
    listed = [check for candidate in document["candidates"] for check in candidate["checks"]]
    assert sum(check["fails"] for check in listed) == failures(report)
    assert document["counts"] == dict.fromkeys(VERDICTS, 0) | Counter(c.verdict.value for c in all_checks(report))
    for read, check in zip(listed, all_checks(report), strict=True):
        assert (read["metric"], read["corruption"], read["layer"]) == (check.metric, check.corruption, check.layer)
        for name in ("change", "p"):
            number = read[name]
            assert number == getattr(check, name) or float(number) == getattr(check, name) or number == "NaN"


def check_junit(report: Report) -> None:
    text = junit.text(report)
    JENKINS.validate(text)
    suites = JUnitXml.fromstring(text.encode())
    found = Counter(type(result) for suite in suites for case in suite for result in case.result)
    broken = sum(check.verdict is Verdict.BROKEN and report.fails(check) for check in all_checks(report))
    assert (found[Failure], found[Error]) == (failures(report) - broken, broken)
    assert bool(found[Failure] + found[Error]) is (report.exit_code == 1)
    good = sum(check.verdict in (Verdict.HELD, Verdict.IMPROVED) for check in all_checks(report))
    assert found[Skipped] == len(all_checks(report)) - good - failures(report)
    for suite, judgement in zip(suites, report.judgements, strict=True):
        assert suite.tests == len(list(suite)) == len(judgement.checks)
    assert (suites.failures, suites.errors) == (found[Failure], found[Error])


def check_gitlab(report: Report) -> None:
    read = samples(gitlab_metrics.text(report))
    assert read["convbench_gate_passed"] == 1 - report.exit_code
    if len(report.judgements) == 1:
        for verdict in Verdict:
            count = sum(check.verdict is verdict for check in all_checks(report))
            assert read[f'convbench_verdicts{{verdict="{verdict.value}"}}'] == count


def check_benchmark(report: Report) -> None:
    listed = strict_json(gha_benchmark.text(report)) + strict_json(gha_benchmark_smaller.text(report))
    wanted = [c for c in all_checks(report) if c.kind in (Kind.AGGREGATE, Kind.NETWORK) and c.candidate is not None]
    finite = [check for check in wanted if math.isfinite(check.candidate)]
    assert len(listed) <= len(finite)
    assert bool(listed) is bool(finite)
    for entry in listed:
        assert entry["name"] == " ".join(entry["name"].splitlines())
        assert isinstance(entry["value"], float)


def check_github(report: Report) -> None:
    lines = annotation_lines(github.annotations(report))
    kinds = Counter(command for command, _, _ in lines)
    assert kinds["error"] == min(failures(report), 10)
    assert kinds["warning"] <= 10
    assert bool(kinds["error"]) is (report.exit_code == 1)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize(
    "check",
    [check_terminal, check_markdown, check_csv, check_json, check_junit, check_gitlab, check_benchmark, check_github],
)
def test_every_situation(situation, check):
    check(SITUATIONS[situation]())


@given(report=reports)
@MANY
def test_what_people_read(report):
    check_terminal(report)
    check_markdown(report)


@given(report=reports)
@MANY
def test_what_programs_read(report):
    check_csv(report)
    check_json(report)
    check_junit(report)
    check_gitlab(report)
    check_benchmark(report)
    check_github(report)


@given(report=reports)
@settings(max_examples=15)
def test_what_a_step_of_github_gets(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("step")
    github.append_outputs(report, folder / "output")
    github.append_summary(report, folder / "summary")
    outputs = dict(line.split("=", 1) for line in (folder / "output").read_text().split("\n")[:-1])
    assert list(outputs) == ["verdict", "passed", "worst_metric", "worst_delta"]
    assert outputs["verdict"] == report.verdict.value
    assert outputs["passed"] == ("true" if failures(report) == 0 else "false")
    assert (folder / "summary").read_text() == markdown.text(report)
