"""What stands behind the numbers: notes, conditions of measurement, the rules, the sides, and how to read it all."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from convbench.gate.outputs.html.banner import badge
from convbench.gate.outputs.html.markup import Markup, caption, element, joined, scrolled
from convbench.gate.policy import DEFAULT_MARGINS
from convbench.gate.report import Report, Side, Verdict

MEANINGS: Mapping[Verdict, str] = {
    Verdict.BROKEN: "Not a number that may stand: NaN, a lower bound above its upper bound, or at chance where the "
    "baseline was not.",
    Verdict.REGRESSED: "Certainly worse, and by at least the margin.",
    Verdict.MISSING: "The baseline has this number and the candidate has not.",
    Verdict.SUSPECT: "Worse by at least the margin, but the interval reaches above it: it may be chance.",
    Verdict.UNDERPOWERED: "Not shown to be worse, but with so few images even twice the margin is not ruled out.",
    Verdict.NEW: "The candidate has this number and the baseline has not.",
    Verdict.HELD: "Not shown to be worse, and twice the margin is ruled out.",
    Verdict.IMPROVED: "Certainly better: the whole interval lies on the better side.",
}


def notes(report: Report) -> Markup:
    """What a reader must know before believing the numbers; "" where there is nothing."""
    whose: dict[str, list[str]] = {}
    for judgement in report.judgements:
        for note in judgement.notes:
            whose.setdefault(note, []).append(judgement.candidate.label)
    if not whose:
        return Markup("")
    # What holds for all candidates is said once.
    items = [
        element("li", "" if len(labels) == len(report.judgements) else f"{', '.join(labels)}: ", note)
        for note, labels in whose.items()
    ]
    return joined([element("h2", "Notes"), element("ul", *items, class_="notes")])


def measurement(report: Report) -> Markup:
    """Under which conditions was measured, by which rules was judged, and which runs took part."""
    policy = report.policy
    margins = {**DEFAULT_MARGINS, **policy.margins}
    rules = {
        "margins": "; ".join(f"{name} {size:g}" for name, size in margins.items()),
        "floors": "; ".join(f"{name} {size:g}" for name, size in policy.floors.items()) or "none",
        "fails on": ", ".join(policy.fail_on) or "nothing",
        "gated": ", ".join(policy.gate),
        "strict": "yes" if policy.strict else "no",
        "level": f"{policy.alpha:g}, two-sided",
        "correction over conditions": policy.correction,
        "bootstrap": f"{policy.resamples:,} resamples, seed {policy.seed}",
        "filter": policy.filter or "all conditions",
    }
    sides = [report.baseline, *(judgement.candidate for judgement in report.judgements)]
    about = "Margins of shares as fractions (0.005 is half a percentage point), of bounds and norms relative."
    return joined([
        element("h2", "How it was measured and judged"),
        *[_facts("Conditions of measurement, alike on all sides", report.fingerprint)] * bool(report.fingerprint),
        _facts("Rules", rules, about),
        _runs(sides),
    ])  # fmt: skip


def reading() -> Markup:
    """What the words mean."""
    terms: list[Markup] = []
    for verdict, meaning in MEANINGS.items():
        terms += [element("dt", badge(verdict)), element("dd", meaning)]
    words = (
        "A change is the candidate minus the baseline; bounds and norms are compared as a ratio. The interval says "
        "which changes these images (and seeds, where there are several) leave possible at 95 %. The margin is the "
        "change for the worse that the rules allow. Intervals of single conditions hold for each alone; p-values are "
        "corrected over all of them."
    )
    parts = [element("h2", "How to read it"), element("p", words), element("dl", *terms, class_="verdicts")]
    return joined(parts)


def _runs(sides: Sequence[Side]) -> Markup:
    """What describes each arm, side by side; what differs stands out."""
    described = [_described(side) for side in sides]
    rows = []
    for name in dict.fromkeys(name for facts in described for name in facts):
        values = [_words(facts[name]) if name in facts else "–" for facts in described]
        differs = "differs" if len(set(values)) > 1 else None
        rows.append(
            element("tr", element("th", name, scope="row"), *(element("td", value) for value in values), class_=differs)
        )
    labels = [f"{side.label}{' (baseline)' if place == 0 else ''}" for place, side in enumerate(sides)]
    head = element("tr", element("th", "", aria_label="fact"), *(element("th", label, scope="col") for label in labels))
    words = caption("The runs", element("small", "Bold: it differs between them."))
    table = element("table", words, element("thead", head), element("tbody", *rows), class_="runs")
    return scrolled(table, "the runs")


def _described(side: Side) -> dict[str, Any]:
    seeds = [seed for seed in side.seeds if seed is not None]
    return {"runs": side.run_ids, **({"seeds": seeds} if seeds else {}), **side.facts, **side.record}


def _facts(title: str, facts: Mapping[str, Any], about: str = "") -> Markup:
    rows = [
        element("tr", element("th", name, scope="row"), element("td", _words(value))) for name, value in facts.items()
    ]
    heading = caption(title, *[element("small", about)] * bool(about))
    return element("table", heading, element("tbody", *rows), class_="facts")


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_words(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, Sequence):
        return ", ".join(map(_words, value)) or "none"
    return "none" if value is None else json.dumps(value, default=str)
