"""The verdict of the whole report in one sentence, and what was compared with what."""

from convbench.gate.outputs.html.markup import Markup, element
from convbench.gate.outputs.sentences import called, headline, setting
from convbench.gate.outputs.typography import typeset
from convbench.gate.outputs.wording import details
from convbench.gate.report import Check, Report, Verdict

_NAMED = 6  # failures that the banner names before it counts


def banner(report: Report) -> Markup:
    """The verdict, large, the number that decided it, and the sides."""
    word = "passed" if report.passed else "failed"
    sides = [element("strong", report.baseline.label), " (baseline)"]
    for judgement in report.judgements:
        name = element("strong", judgement.candidate.label)
        sides += [element("br"), "→ ", name, f": {setting(report, judgement)}"]
    return element(
        "header",
        element("p", f"convbench {report.version}".strip(), class_="brand"),
        element("h1", f"Gate {word} ", badge(report.verdict)),
        element("p", typeset(headline(report)), class_="sentence"),
        _failures(report),
        element("p", *sides, class_="sides"),
        class_=f"banner {report.verdict.value.lower()}",
    )


def _failures(report: Report) -> Markup:
    """What else failed, beside the number in the headline."""
    if len(report.failures) < 2:
        return Markup("")
    items = [
        element("li", badge(check.verdict), " ", _whose(report, check), f"{called(check)} ", typeset(details(check)))
        for check in report.failures[:_NAMED]
    ]
    more = len(report.failures) - len(items)
    items += [element("li", f"and {more:,} more")] if more else []
    return element("ul", *items, class_="failures")


def badge(verdict: Verdict) -> Markup:
    """The verdict as a word with its colour."""
    return element("span", verdict.value, class_=f"badge {verdict.value.lower()}")


def _whose(report: Report, check: Check) -> str:
    if len(report.judgements) == 1:
        return ""
    return next(f"{j.candidate.label}: " for j in report.judgements if any(check is own for own in j.checks))
