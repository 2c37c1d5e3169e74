"""judge without correctness bits, and with several runs an arm."""

import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from convbench.gate.judging import judge
from convbench.gate.policy import Policy
from convbench.gate.report import Kind, Verdict
from tests.gate.arms import arm, draw, evidence, flipped, grid

GRID = grid(2, (1, 5))
BASE = draw(0.75, 3000, conditions=GRID)
FEW = Policy(resamples=300)


def by_name(judgement):
    return {(check.metric, check.corruption, check.severity): check for check in judgement.checks}


def seeds(count, correct, *, seed=0, share=0.06, label="main"):
    runs = [evidence(flipped(correct, share, seed=100 * seed + i), seed=i) for i in range(count)]
    return arm(*runs, label=label)


def test_a_csv_is_compared_unpaired_and_the_first_line_says_so():
    other = flipped(BASE, 0.06, seed=1, drop=0.015)
    paired = judge(arm(evidence(BASE)), [arm(evidence(other))], FEW).judgements[0]
    table = arm(evidence(other, bits=False), label="pr.csv")
    (judgement,) = judge(arm(evidence(BASE)), [table], FEW).judgements
    assert paired.paired
    assert not judgement.paired
    assert judgement.notes[0].startswith("unpaired: weaker")
    assert "pr.csv" in judgement.notes[0]
    for key, check in by_name(judgement).items():
        if check.kind is Kind.CONDITION or key == ("accuracy", "none", 0):
            before, after = (int(side[check.corruption, check.severity].sum()) for side in (BASE, other))
            expected = confint_proportions_2indep(after, 3000, before, 3000, method="newcomb", compare="diff")
            assert (check.low, check.high) == pytest.approx(expected, abs=1e-12)
            assert (check.p, check.lost, check.gained) == (None, None, None)
            sure = by_name(paired)[key]
            assert check.high - check.low > 1.5 * (sure.high - sure.low)
            assert check.verdict is Verdict.SUSPECT
            assert sure.verdict is Verdict.REGRESSED


def test_the_unpaired_mean_is_no_surer_than_its_conditions():
    other = flipped(BASE, 0.06, seed=1, drop=0.015)
    arms = [arm(evidence(side, bits=False)) for side in (BASE, other)]
    checks = by_name(judge(arms[0], [arms[1]], FEW).judgements[0])
    mean = checks["mean_corrupted_accuracy", "all", "all"]
    each = [check for check in checks.values() if check.kind is Kind.CONDITION]
    assert mean.low == pytest.approx(np.mean([check.low for check in each]))
    assert mean.high == pytest.approx(np.mean([check.high for check in each]))
    paired = by_name(judge(arm(evidence(BASE)), [arm(evidence(other))], FEW).judgements[0])
    sure = paired["mean_corrupted_accuracy", "all", "all"]
    assert mean.low < sure.low < sure.high < mean.high


def test_the_unpaired_error_is_the_accuracy_turned_round():
    arms = [arm(evidence(side, bits=False)) for side in (BASE, flipped(BASE, 0.06, seed=1, drop=0.015))]
    checks = by_name(judge(arms[0], [arms[1]], Policy(resamples=100, margins={"mean_ce": 0.01})).judgements[0])
    error, accuracy = checks["mean_ce", "all", "all"], checks["mean_corrupted_accuracy", "all", "all"]
    assert error.change == pytest.approx(-accuracy.change, abs=1e-12)
    assert (error.low, error.high) == pytest.approx((-accuracy.high, -accuracy.low), abs=1e-12)


@pytest.mark.parametrize(("base", "candidate"), [(1, 1), (2, 2), (1, 5), (3, 2)])
def test_fewer_than_three_runs_say_nothing_about_retraining(base, candidate):
    (judgement,) = judge(seeds(base, BASE), [seeds(candidate, BASE, seed=1)], FEW).judgements
    (note,) = judgement.notes
    assert note.endswith("images only; says nothing about retraining noise.")
    check = by_name(judgement)["mean_corrupted_accuracy", "all", "all"]
    assert check.method == "bootstrap over images, 300 resamples"
    assert check.runs == (base, candidate)


def test_from_three_runs_on_the_runs_are_resampled_too():
    (judgement,) = judge(seeds(3, BASE), [seeds(4, BASE, seed=1)], FEW).judgements
    assert judgement.notes == ()
    checks = by_name(judgement)
    mean = checks["mean_corrupted_accuracy", "all", "all"]
    assert mean.method == "bootstrap over runs and images, 300 resamples"
    assert checks["accuracy", "fog", 5].method.endswith(", Holm")
    assert checks["accuracy", "fog", 5].p_adjusted >= checks["accuracy", "fog", 5].p > 0
    assert judgement.candidate.seeds == (0, 1, 2, 3)


def test_means_are_over_the_runs():
    first, second = seeds(3, BASE), seeds(4, flipped(BASE, 0.05, seed=7, drop=0.03), seed=1)
    (judgement,) = judge(first, [second], FEW).judgements
    for (metric, corruption, severity), check in by_name(judgement).items():
        if metric == "accuracy":
            expected = [
                np.mean([e.correct[corruption, severity].mean() for e in side.evidence]) for side in (first, second)
            ]
            assert (check.baseline, check.candidate) == pytest.approx(expected, abs=1e-12)
            assert check.change == pytest.approx(expected[1] - expected[0], abs=1e-12)
            assert check.low < check.change < check.high
            assert check.n == 3000


def test_seeds_that_differ_widen_the_interval():
    levels = [-0.05, 0.0, 0.05]
    noisy = arm(*(evidence(flipped(BASE, 0.06, seed=i, drop=level), seed=i) for i, level in enumerate(levels)))
    quiet = seeds(3, BASE)
    (wide,) = judge(noisy, [noisy], FEW).judgements
    (narrow,) = judge(quiet, [quiet], FEW).judgements
    key = ("mean_corrupted_accuracy", "all", "all")
    widths = [by_name(judgement)[key].high - by_name(judgement)[key].low for judgement in (wide, narrow)]
    assert widths[0] > 5 * widths[1]
    # Student with 4 degrees of freedom: 2.776 x sqrt(2 x 0.05² / 3), of the runs alone.
    assert widths[0] / 2 == pytest.approx(2.776 * np.sqrt(2 * 0.05**2 / 3), rel=0.2)


def test_unpaired_runs_add_their_spread():
    levels = [-0.05, 0.0, 0.05]
    runs = [evidence(flipped(BASE, 0.06, seed=i, drop=d), seed=i, bits=False) for i, d in enumerate(levels)]
    (several,) = judge(arm(*runs), [arm(*runs)], FEW).judgements
    (single,) = judge(arm(runs[1]), [arm(runs[1])], FEW).judgements
    key = ("accuracy", "fog", 5)
    of_runs = 2.776 * np.sqrt(2 * 0.05**2 / 3)
    both, images = (by_name(judgement)[key] for judgement in (several, single))
    assert both.high == pytest.approx(np.hypot(images.high, of_runs), rel=0.02)
    assert both.low == pytest.approx(-np.hypot(images.low, of_runs), rel=0.02)


def test_a_number_that_one_run_lacks_has_no_mean():
    whole, part = evidence(BASE), evidence({c: b for c, b in BASE.items() if c != ("fog", 5)}, seed=1)
    (judgement,) = judge(seeds(2, BASE), [arm(whole, part)], FEW).judgements
    check = by_name(judgement)["accuracy", "fog", 5]
    assert (check.verdict, check.reason) == (Verdict.MISSING, "1 of its 2 runs have it")
