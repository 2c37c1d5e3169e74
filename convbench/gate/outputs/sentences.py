"""What every output for people says of a report as a whole: the verdict, the counts, what the run could have seen."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from convbench.gate.outputs.wording import amount, details, one_line
from convbench.gate.report import Check, Judgement, Kind, Report, Scale, Verdict

_WHOLE = (Kind.AGGREGATE, Kind.FLOOR, Kind.NETWORK)
_FEW = 3
_HASH = 12  # characters of a long hexadecimal digest that are enough to tell two apart


def headline(report: Report) -> str:
    """The verdict and the number that decided it, in one line; weaker evidence is said before anything else."""
    verdict = report.verdict.value
    if not all(judgement.paired for judgement in report.judgements):
        verdict += " (unpaired: weaker)"
    return f"{verdict}: {_because(report)}"


def _because(report: Report) -> str:
    if report.worst is None:
        return "nothing is gated"
    judgement, check = report.worst
    whose = f" of {one_line(judgement.candidate.label, 60)}" if len(report.judgements) > 1 else ""
    gated = [check for one in report.judgements for check in one.checks if check.gated]
    if report.passed and report.verdict is Verdict.HELD:
        return f"no gated number of {len(gated)} is worse by more than its margin"
    if report.passed and report.verdict is Verdict.IMPROVED:
        better = [(-one.worsening, one) for one in gated if one.verdict is Verdict.IMPROVED]
        check, alike = max(better, key=lambda pair: pair[0])[1], len(better)
        whose = ""  # the best of any candidate
    else:
        alike = len(report.failures) or sum(one.verdict is report.verdict for one in gated)
    more = f", and {alike - 1} more" if alike > 1 else ""
    if check.verdict is Verdict.MISSING:
        return f"{called(check)}{whose}: the baseline has it, the candidate has not{more}"
    return f"{called(check)}{whose} {details(check)}{more}"


def gate(judgement: Judgement) -> tuple[Check, ...]:
    """The checks of the gate table: of the whole, what is gated first, then by verdict, else in their own order."""
    return tuple(sorted(judgement.of_kind(*_WHOLE), key=lambda check: (not check.gated, check.verdict.rank)))


def called(check: Check) -> str:
    """The name of a number; a floor says so."""
    name = one_line(check.name, 120)
    return f"floor of {name}" if check.kind is Kind.FLOOR else name


def outcome(report: Report) -> str:
    """Whether the gate is passed, as the exit code says it."""
    return "Gate passed." if report.passed else f"Gate failed ({_number(len(report.failures), 'failure', 'failures')})."


def counts(checks: Sequence[Check], one: str, many: str) -> str:
    """How many there are, and of each verdict, the worst first: "95 conditions: 7 REGRESSED, 2 SUSPECT, 86 HELD"."""
    found = Counter(check.verdict for check in checks)
    words = ", ".join(f"{found[verdict]:,} {verdict.value}" for verdict in Verdict if found[verdict])
    gated = sum(check.gated for check in checks)
    note = "" if gated == len(checks) else "; not gated" if not gated else f"; {gated:,} gated"
    return f"{_number(len(checks), one, many)}: {words}{note}"


def detectable(judgement: Judgement) -> str:
    """The smallest change for the worse that the images could have shown; "" where none is known."""
    parts = [
        f"{amount(check, check.detectable)} of {called(check)}"
        for check in judgement.of_kind(Kind.AGGREGATE)
        if check.gated and check.detectable is not None
    ][:_FEW]
    found = [check for check in judgement.of_kind(Kind.CONDITION) if check.scale is Scale.POINTS]
    sizes = sorted(((c.detectable, c) for c in found if c.detectable is not None), key=lambda pair: pair[0])
    if sizes:
        ends = dict.fromkeys(amount(check, size) for size, check in (sizes[0], sizes[-1]))
        parts.append(" to ".join(ends).replace(" pp to", " to") + " in one condition")
    if not parts:
        return ""
    return f"Smallest change for the worse that these images would show (80 % power): {', '.join(parts)}."


def level(report: Report) -> str:
    """Of the intervals: "95 %"."""
    return f"{100 * (1 - report.policy.alpha):g} %"


def p_heading(report: Report) -> str:
    """The heading of a column of p-values, with their correction."""
    return {"holm": "p, Holm", "bh": "p, BH"}.get(report.policy.correction, "p")


def setting(report: Report, judgement: Judgement) -> str:
    """How the two were compared: "paired, 10,000 images, 19 corruptions, 95 conditions, 3 and 3 runs"."""
    of_images = judgement.of_kind(Kind.AGGREGATE, Kind.CONDITION)
    images = sorted({check.n for check in of_images if check.n > 0})
    conditions = {(check.corruption, check.severity) for check in judgement.of_kind(Kind.CONDITION)}
    parts = ["paired" if judgement.paired else "unpaired"]
    if images:
        parts.append(f"{images[0]:,} images" if len(images) == 1 else f"{images[0]:,} to {images[-1]:,} images")
    if conditions:
        parts += [_number(len({name for name, _ in conditions}), "corruption", "corruptions")]
        parts += [_number(len(conditions), "condition", "conditions")]
    runs = len(report.baseline.run_ids), len(judgement.candidate.run_ids)
    if runs != (1, 1):
        parts.append(f"{runs[0]} against {runs[1]} runs")
    return ", ".join(parts)


def rules(report: Report) -> str:
    """By which rules it was judged, in one line."""
    policy = report.policy
    correction = {"holm": "Holm over conditions", "bh": "Benjamini-Hochberg over conditions", "none": "no correction"}
    parts = [
        f"level {level(report)}",
        correction[policy.correction],
        f"{policy.resamples:,} resamples (seed {policy.seed})",
        f"fails on {', '.join(policy.fail_on) or 'nothing'}",
    ]
    parts += ["strict"] if policy.strict else []
    parts += [f"only {one_line(policy.filter)}"] if policy.filter else []
    return "; ".join(parts) + f"; convbench {one_line(report.version)}".rstrip() + "."


def measured(fingerprint: Mapping[str, Any]) -> str:
    """The conditions of measurement in one line: "dataset cifar10; split test; ..."; digests are cut."""
    return "; ".join(
        f"{one_line(key, 60)} {fact(value)}" for key, value in fingerprint.items() if value not in ("", None)
    )


def fact(value: Any) -> str:
    """One value of a fingerprint or a record, in one line."""
    if isinstance(value, str) and len(value) >= 32 and not value.strip("0123456789abcdef"):
        return value[:_HASH]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{one_line(key)}: {fact(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return one_line(", ".join(map(fact, value)))
    return one_line(value, 120)


def _number(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
