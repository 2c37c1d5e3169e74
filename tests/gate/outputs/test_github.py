"""What a step of GitHub Actions is told: annotations, outputs, and a summary that GitHub does not drop."""

import pytest

from convbench.errors import ConvbenchError
from convbench.gate.outputs import github, markdown
from convbench.gate.policy import Policy
from convbench.gate.report import Verdict
from tests.gate.outputs.reading import annotation_lines
from tests.gate.reports import SITUATIONS, aggregate, condition, judgement, layer, regressed, report, several

DROPPED_ABOVE = 1024 * 1024  # bytes of one step's summary


def test_annotations_by_hand():
    assert github.annotations(regressed()) == (
        "::error title=convbench::REGRESSED: mean corrupted accuracy 74.02 -> 73.24 "
        "(-0.78 [-0.98, -0.57] pp, margin 0.5)\n"
    )
    assert github.annotations(SITUATIONS["unpaired"]()).startswith("::warning title=convbench::SUSPECT: ")
    assert github.annotations(SITUATIONS["held"]()) == ""


def test_annotations_are_escaped():
    one = report(
        judgement(aggregate(metric="50%\nof::x,y"), label="a:b,c%\nd"), judgement(aggregate(gated=False), label="other")
    )
    ((command, title, message),) = annotation_lines(github.annotations(one))
    assert (command, title) == ("error", "convbench a%3Ab%2Cc%25 d")
    assert message.startswith("REGRESSED: 50%25 of::x,y")


@pytest.mark.parametrize(("failures", "errors"), [(9, 9), (10, 10), (11, 10), (500, 10)])
def test_at_most_ten_of_a_kind_and_the_last_counts_the_rest(failures, errors):
    suspects = [aggregate(metric=f"s{n}", verdict=Verdict.SUSPECT) for n in range(failures)]
    lines = annotation_lines(github.annotations(report(judgement(*[aggregate()] * failures, *suspects))))
    assert [command for command, _, _ in lines] == ["error"] * errors + ["warning"] * errors
    if failures > errors:
        assert lines[9][2].startswith(f"{failures - 9} more; ")


def test_a_suspicion_that_fails_the_gate_is_an_error():
    one = report(judgement(aggregate(verdict=Verdict.SUSPECT)), policy=Policy(fail_on=("suspect",)))
    assert github.annotations(one).startswith("::error")
    ignored = report(judgement(aggregate(verdict=Verdict.SUSPECT, gated=False)))
    assert github.annotations(ignored) == ""


def read_outputs(path):
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def test_outputs(tmp_path):
    path = tmp_path / "output"
    path.write_text("mine=1\n")
    github.append_outputs(several(), path)
    assert read_outputs(path) == {
        "mine": "1",
        "verdict": "REGRESSED",
        "passed": "false",
        "worst_metric": "mean_corrupted_accuracy",
        "worst_delta": "-0.0078",
    }


@pytest.mark.parametrize(
    ("check", "key"),
    [
        (condition("fog", 3, gated=True), "accuracy:corruption=fog,severity=3"),
        (layer("conv1", gated=True), "spectral_norm:layer=conv1"),
        (aggregate(metric="x\nverdict=HELD", corruption="none", severity=0), "x verdict=HELD"),
        (aggregate(change=None), "mean_corrupted_accuracy"),
    ],
)
def test_the_worst_metric_as_margins_name_it(check, key, tmp_path):
    github.append_outputs(report(judgement(check)), tmp_path / "output")
    read = read_outputs(tmp_path / "output")
    assert read["worst_metric"] == key
    assert read["worst_delta"] == ("" if check.change is None else repr(check.change))
    assert read["verdict"] == ("HELD" if check.layer else "REGRESSED")


def test_no_worst_metric_where_nothing_is_gated(tmp_path):
    github.append_outputs(SITUATIONS["nothing"](), tmp_path / "output")
    assert (tmp_path / "output").read_text() == "verdict=HELD\npassed=true\nworst_metric=\nworst_delta=\n"


@pytest.mark.parametrize("used", [0, 500_000, 990_000, 999_990, 1_040_000])
def test_the_summary_keeps_its_limit_with_what_is_there(used, tmp_path):
    path = tmp_path / "summary"
    path.write_text("é" * (used // 2))
    github.append_summary(regressed(count=10_000), path)
    written = path.read_bytes()[used:].decode()
    assert path.stat().st_size < DROPPED_ABOVE
    if used < 999_000:
        assert written.lstrip().startswith("### convbench: REGRESSED")
    else:
        assert written == "", "better nothing than a summary that is dropped whole"


def test_the_summary_of_an_earlier_command_stays_above(tmp_path):
    path = tmp_path / "summary"
    path.write_text("earlier")
    github.append_summary(regressed(), path)
    assert path.read_text() == "earlier\n\n" + markdown.text(regressed())


def test_a_folder_in_place_of_the_file_is_one_line(tmp_path):
    for append in (github.append_summary, github.append_outputs):
        with pytest.raises(ConvbenchError, match="cannot write"):
            append(regressed(), tmp_path)
