"""A report as JUnit XML, as GitLab, Jenkins, Azure and the test reporters of GitHub read it.

A failure or an error is exactly what fails the gate, so that a build is never red in one place and green in another.
"""

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from convbench.gate.outputs import sentences
from convbench.gate.outputs.wording import details, one_line, p_value
from convbench.gate.report import Check, Kind, Report, Verdict

_PASSED = (Verdict.HELD, Verdict.IMPROVED)


def text(report: Report) -> str:
    """One test suite per candidate, one test case per check, named "<corruption>@<severity>" in "convbench.<metric>".

    What fails the gate is a failure, or an error where it is BROKEN. Anything else but HELD and IMPROVED is skipped,
    with the verdict as message: UNDERPOWERED, NEW, a SUSPECT that does not fail, and what is worse but not gated.
    """
    suites = [(one, _cases(one)) for one in report.each]
    root = ET.Element("testsuites", {"name": "convbench", **_totals([cases for _, cases in suites], skipped=False)})
    for one, cases in suites:
        name = f"convbench {one_line(one.judgements[0].candidate.label)}"
        suite = ET.SubElement(root, "testsuite", {"name": name, **_totals([cases]), "time": "0"})
        properties = ET.SubElement(suite, "properties")
        for key, words in _properties(one).items():
            ET.SubElement(properties, "property", name=key, value=words)
        for check, outcome in cases:
            _add(suite, check, outcome)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _cases(report: Report) -> list[tuple[Check, str]]:
    return [(check, _outcome(report, check)) for check in report.judgements[0].checks]


def _outcome(report: Report, check: Check) -> str:
    """The element that says what became of the test; "" for passed."""
    if report.fails(check):
        return "error" if check.verdict is Verdict.BROKEN else "failure"
    return "" if check.verdict in _PASSED else "skipped"


def _totals(suites: Iterable[list[tuple[Check, str]]], *, skipped: bool = True) -> dict[str, str]:
    outcomes = [outcome for cases in suites for _, outcome in cases]
    totals = {"tests": len(outcomes), "failures": outcomes.count("failure"), "errors": outcomes.count("error")}
    if skipped:
        totals["skipped"] = outcomes.count("skipped")
    return {name: str(count) for name, count in totals.items()}


def _properties(report: Report) -> dict[str, str]:
    (judgement,) = report.judgements
    return {
        "verdict": report.verdict.value,
        "headline": one_line(sentences.headline(report)),
        "baseline": one_line(report.baseline.label),
        "setting": sentences.setting(report, judgement),
        "measured": one_line(sentences.measured(report.fingerprint), 2000),
        "rules": sentences.rules(report),
        **{f"note {place}": one_line(note) for place, note in enumerate(judgement.notes, start=1)},
    }


def _add(suite: ET.Element, check: Check, outcome: str) -> None:
    case = ET.SubElement(
        suite, "testcase", classname=f"convbench.{one_line(check.metric)}", name=_name(check), time="0"
    )  # fmt: skip
    words = f"{check.verdict.value}: {sentences.called(check)} {details(check)}"
    if outcome:
        note = "" if check.gated else "not gated: "
        element = ET.SubElement(case, outcome, message=note + words, type=check.verdict.value)
        element.text = _evidence(check)
    else:
        ET.SubElement(case, "system-out").text = f"{words}\n{_evidence(check)}"


def _name(check: Check) -> str:
    whole = "network" if check.kind is Kind.NETWORK else "all"
    place = one_line(check.place or whole)
    return f"floor of {place}" if check.kind is Kind.FLOOR else place


def _evidence(check: Check) -> str:
    """Everything else that is known of a number, one fact a line."""
    facts = {
        "images": f"{check.n:,}" if check.n else "",
        "lost, gained": "" if check.lost is None or check.gained is None else f"{check.lost:,}, {check.gained:,}",
        "p": "" if check.p is None and check.p_adjusted is None else p_value(check),
        "method": one_line(check.method),
    }
    return "\n".join(f"{name}: {fact}" for name, fact in facts.items() if fact)
