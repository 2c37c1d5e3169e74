"""A report inside a step of GitHub Actions: the job summary, annotations, and the outputs of the step."""

from pathlib import Path

from convbench.files import disk_errors
from convbench.gate.outputs import markdown, sentences
from convbench.gate.outputs.wording import details, one_line
from convbench.gate.report import Check, Judgement, Report, Verdict

# GitHub drops a summary of more than 1 MiB (1,048,576 bytes) whole, and shows ten annotations of a kind in a step.
SUMMARY_LIMIT = 1_000_000
ANNOTATIONS = 10


def append_summary(report: Report, path: Path) -> None:
    """Append the report to the job summary in `path` (`$GITHUB_STEP_SUMMARY`), within what is left of its limit.

    Where nothing is left, nothing is appended: a longer summary would be lost whole.

    Raises:
        ConvbenchError: the file cannot be written.
    """
    with disk_errors(path):
        used = path.stat().st_size if path.exists() else 0
        gap = "\n\n" if used else ""
        content = markdown.text(report, limit=SUMMARY_LIMIT - used - len(gap))
        if content:
            with path.open("a", encoding="utf-8") as file:
                file.write(gap + content)


def append_outputs(report: Report, path: Path) -> None:
    """Append the outputs of the step to `path` (`$GITHUB_OUTPUT`): verdict, passed, worst_metric, worst_delta.

    worst_metric is written as in a margin ("accuracy:corruption=fog,severity=5"), worst_delta is its change as in the
    JSON output (a share, not points); both are empty where nothing is gated.

    Raises:
        ConvbenchError: the file cannot be written.
    """
    lines = [f"verdict={report.verdict.value}", f"passed={str(report.passed).lower()}"]
    check = report.worst[1] if report.worst else None
    lines.append(f"worst_metric={_key(check) if check else ''}")
    lines.append(f"worst_delta={'' if check is None or check.change is None else repr(float(check.change))}")
    with disk_errors(path), path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


def annotations(report: Report) -> str:
    """Workflow commands for stdout: an error for each failure, a warning for each gated SUSPECT that does not fail.

    At most ten of a kind, the worst first; the tenth then says how many more there are. "" where there is none.
    """
    several = len(report.judgements) > 1
    found: dict[str, list[tuple[Judgement, Check]]] = {"error": [], "warning": []}
    for one in report.each:
        (judgement,) = one.judgements
        suspects = [c for c in judgement.worst_first() if c.gated and c.verdict is Verdict.SUSPECT and not one.fails(c)]
        found["error"] += [(judgement, check) for check in one.failures]
        found["warning"] += [(judgement, check) for check in suspects]
    lines = []
    for command, checks in found.items():
        shown = checks if len(checks) <= ANNOTATIONS else checks[: ANNOTATIONS - 1]
        for judgement, check in shown:
            title = f"convbench {one_line(judgement.candidate.label, 60)}" if several else "convbench"
            words = f"{check.verdict.value}: {sentences.called(check)} {details(check)}"
            lines.append(f"::{command} title={_property(title)}::{_data(words)}")
        if len(checks) > len(shown):
            words = f"{len(checks) - len(shown):,} more; all are in the job summary and the other outputs"
            lines.append(f"::{command} title=convbench::{_data(words)}")
    return "".join(f"{line}\n" for line in lines)


def _key(check: Check) -> str:
    """The number as margins name it."""
    options = [f"layer={check.layer}"] if check.layer else []
    if check.corruption not in ("none", "all") or check.severity not in (0, "all"):
        options += [f"corruption={check.corruption},severity={check.severity}"]
    return one_line(":".join([check.metric, *options]))


def _data(words: str) -> str:
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(words: str) -> str:
    return _data(words).replace(":", "%3A").replace(",", "%2C")
