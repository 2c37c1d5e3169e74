"""judge: every number against the baseline's, from arms whose bits are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from convbench.errors import ConfigError, NotComparableError
from convbench.gate.judging import judge
from convbench.gate.policy import Policy
from convbench.gate.report import Kind, Scale, Verdict
from convbench.statistics.intervals import newcombe_paired
from tests.gate.arms import CLEAN, arm, draw, evidence, flipped, grid

GRID = grid(2, (1, 3, 5))
BASE = draw(0.75, 2000, conditions=GRID)
FEW = Policy(resamples=200)
CONFIDENT = np.random.default_rng(8).uniform(0.3, 1, (2, 2000)).astype(np.float32)


def one(correct, label="main", **options):
    return arm(evidence(correct, **options), label=label)


def checks_of(report, kind=None):
    """The checks of the one candidate by (metric, corruption, severity, layer)."""
    (judgement,) = report.judgements
    kinds = [kind] if kind else list(Kind)
    return {(c.metric, c.corruption, c.severity, c.layer): c for c in judgement.checks if c.kind in kinds}


def numbers_of(report):
    return {key: (check.change, check.low, check.high) for key, check in checks_of(report).items()}


def test_a_run_against_itself_has_changed_in_nothing():
    same = one(BASE, confidence=CONFIDENT[0], nll=CONFIDENT[1], layers={"conv1": 2.0})
    report = judge(same, [same], Policy(gate=("aggregates", "conditions", "layers"), resamples=200))
    (judgement,) = report.judgements
    assert judgement.paired
    assert report.exit_code == 0
    assert report.verdict is Verdict.HELD
    for check in judgement.checks:
        assert check.change == 0, check.name
        assert check.verdict is Verdict.HELD, check.name
        assert check.p in (None, 1.0)
        assert check.p_adjusted in (None, 1.0)
        assert check.low is None or check.low <= 0 <= check.high
    assert {check.kind for check in judgement.checks} == {Kind.AGGREGATE, Kind.NETWORK, Kind.CONDITION, Kind.LAYER}


def test_swapped_sides_negate_every_difference():
    other = flipped(BASE, 0.06, seed=1, drop=0.02)
    first = one(BASE, confidence=CONFIDENT[0], nll=CONFIDENT[1])
    second = one(other, "pr", confidence=CONFIDENT[1], nll=CONFIDENT[0])
    there, back = numbers_of(judge(first, [second], FEW)), numbers_of(judge(second, [first], FEW))
    assert there.keys() == back.keys()
    assert len(there) > 10
    for key, (change, low, high) in there.items():
        assert back[key][0] == pytest.approx(-change, abs=1e-15), key
        if low is not None:
            assert back[key][1:] == pytest.approx((-high, -low), abs=1e-12), key


def test_a_condition_is_judged_by_the_paired_table():
    other = flipped(BASE, 0.06, seed=1, drop=0.02, only=[("fog", 5)])
    checks = checks_of(judge(one(BASE), [one(other, "pr")], FEW), Kind.CONDITION)
    assert [(corruption, severity) for _, corruption, severity, _ in checks] == list(GRID)
    p_values = []
    for check in checks.values():
        before, after = (side[check.corruption, check.severity] for side in (BASE, other))
        lost, gained = int((before & ~after).sum()), int((~before & after).sum())
        assert (check.lost, check.gained, check.n) == (lost, gained, 2000)
        assert check.change == pytest.approx((gained - lost) / 2000, abs=1e-15)
        ends = newcombe_paired(int((before & after).sum()), lost, gained, int((~before & ~after).sum()))
        assert (check.low, check.high) == tuple(map(float, ends))
        asymptotic = mcnemar([[0, lost], [gained, 0]], exact=False, correction=False).pvalue
        assert check.p == pytest.approx(asymptotic, abs=0.01)
        assert check.method.endswith("McNemar mid-p, Holm")
        assert check.detectable > 0
        p_values.append(check.p)
    worst = checks["accuracy", "fog", 5, ""]
    assert worst.p == min(p_values)
    assert worst.p_adjusted == pytest.approx(6 * worst.p)
    assert worst.verdict is Verdict.REGRESSED
    assert not worst.gated
    assert {check.verdict for check in checks.values() if check is not worst} <= {Verdict.HELD, Verdict.UNDERPOWERED}


def test_without_a_correction_each_condition_stands_alone():
    other = one(flipped(BASE, 0.06, seed=1, drop=0.01), "pr")
    holm = checks_of(judge(one(BASE), [other], FEW), Kind.CONDITION)
    plain = checks_of(judge(one(BASE), [other], replace(FEW, correction="none")), Kind.CONDITION)
    for key, check in plain.items():
        assert check.p == holm[key].p
        assert check.p_adjusted is None
        assert check.detectable < holm[key].detectable


def test_a_drop_of_the_mean_fails_the_gate_and_a_rise_does_not():
    dropped, risen = flipped(BASE, 0.06, seed=2, drop=0.02), flipped(BASE, 0.06, seed=2, drop=-0.02)
    report = judge(one(BASE), [one(dropped, "worse"), one(risen, "better")], FEW)
    worse, better = report.judgements
    assert report.exit_code == 1
    assert {check.metric for check in report.failures} == {"accuracy", "mean_corrupted_accuracy"}
    assert {c.verdict for c in worse.checks if c.gated and c.scale is Scale.POINTS} == {Verdict.REGRESSED}
    assert {c.verdict for c in better.checks if c.gated and c.scale is Scale.POINTS} == {Verdict.IMPROVED}
    assert judge(one(BASE), [one(risen)], FEW).exit_code == 0


def test_the_interval_of_the_mean_is_that_of_images_not_of_predictions():
    other = flipped(BASE, 0.06, seed=3)
    for condition in GRID[1:]:  # the same images change everywhere
        other[condition] = BASE[condition] ^ (BASE[GRID[0]] ^ other[GRID[0]])
    check = checks_of(judge(one(BASE), [one(other)], Policy()))["mean_corrupted_accuracy", "all", "all", ""]
    per_image = np.mean([other[c].astype(float) - BASE[c] for c in GRID], axis=0)
    half = 1.96 * per_image.std(ddof=1) / math.sqrt(2000)
    assert check.change == pytest.approx(per_image.mean(), abs=1e-12)
    assert (check.low, check.high) == pytest.approx((check.change - half, check.change + half), abs=0.1 * half)
    assert check.method == "bootstrap over images, 2000 resamples"


def test_calibration_has_an_interval_where_confidences_are_stored():
    generator = np.random.default_rng(4)
    confidence = generator.uniform(0.5, 1, 2000).astype(np.float32)
    right = generator.random(2000) < confidence
    calibrated, sure = {CLEAN: right}, np.minimum(confidence + 0.1, 1).astype(np.float32)
    nll = -np.log(confidence).astype(np.float32)
    checks = checks_of(
        judge(one(calibrated, confidence=confidence, nll=nll), [one(calibrated, confidence=sure, nll=nll + 0.1)], FEW)
    )
    ece, loss = checks["ece", "none", 0, ""], checks["nll", "none", 0, ""]
    assert ece.verdict is Verdict.REGRESSED
    assert ece.gated
    assert ece.scale is Scale.PLAIN
    assert 0 < ece.low < ece.change < ece.high
    assert loss.verdict is Verdict.SUSPECT  # certainly worse; nobody said how much matters
    assert not loss.gated
    assert loss.low == pytest.approx(0.1, abs=1e-6)
    assert loss.high == pytest.approx(0.1, abs=1e-6)


def test_the_resampled_calibration_error_is_that_of_the_definition():
    from convbench.comparison.quantities import Quantity
    from convbench.gate.image_statistics import statistics_of
    from tests.gate.arms import calibration_error

    confidence = np.append(CONFIDENT[0][:-1], np.float32(1))
    right = np.ceil(15 * confidence) % 2 == 0  # neighbouring bins err in opposite directions: none may be merged
    statistic = statistics_of((), single=False)[Quantity("ece")]
    terms = statistic.terms(evidence({CLEAN: right}, confidence=confidence))
    assert terms is not None
    assert float(statistic.value(terms.mean(axis=0))) == pytest.approx(calibration_error(confidence, right), abs=1e-9)


def test_old_folders_without_confidences_have_no_interval_and_say_so():
    old = evidence(BASE, confidence=CONFIDENT[0])
    bare = replace(old, confidence=None)
    (judgement,) = judge(arm(bare), [arm(old, label="pr")], FEW).judgements
    check = next(check for check in judgement.checks if check.metric == "ece")
    assert (check.low, check.high, check.gated) == (None, None, False)
    assert any("evaluated before confidences were stored" in note for note in judgement.notes)
    asked = judge(arm(bare), [arm(old)], replace(FEW, margins={"ece": 0.01}, fail_on=("underpowered",)))
    assert [check.metric for check in asked.failures] == ["ece"]


def test_a_missing_condition_fails_and_leaves_no_mean():
    lacking = {condition: bits for condition, bits in BASE.items() if condition != ("fog", 3)}
    report = judge(one(BASE), [one(lacking, "pr")], FEW)
    checks = checks_of(report)
    assert checks["accuracy", "fog", 3, ""].verdict is Verdict.MISSING
    assert checks["mean_corrupted_accuracy", "all", "all", ""].verdict is Verdict.MISSING
    assert {check.metric for check in report.failures} == {"accuracy", "mean_corrupted_accuracy"}
    assert any("1 of 6 conditions are missing (fog 3)" in note for note in report.judgements[0].notes)


def test_a_new_condition_is_named_and_not_in_the_mean():
    lacking = {condition: bits for condition, bits in BASE.items() if condition != ("fog", 3)}
    report = judge(one(lacking), [one(BASE, "pr")], FEW)
    checks = checks_of(report)
    assert checks["accuracy", "fog", 3, ""].verdict is Verdict.NEW
    assert checks["mean_corrupted_accuracy", "all", "all", ""].change == 0
    assert report.exit_code == 0


def test_other_images_are_not_compared():
    shorter = {condition: bits[:-1] for condition, bits in BASE.items()}
    with pytest.raises(NotComparableError, match="on 1,999 and on 2,000 images"):
        judge(one(BASE), [one(shorter)], FEW)


@pytest.mark.parametrize("classes", [10, None])
def test_a_collapse_to_chance_is_broken(classes):
    collapsed = dict(BASE) | {("fog", 5): np.arange(2000) % 10 == 0}
    report = judge(one(BASE, classes=classes), [one(collapsed, classes=classes)], FEW)
    check = checks_of(report)["accuracy", "fog", 5, ""]
    assert check.verdict is (Verdict.BROKEN if classes else Verdict.REGRESSED)
    assert check.gated == bool(classes)
    if classes:
        assert check.reason == "at chance, 1 in 10"
    # A baseline that was at chance itself has nothing to lose.
    both = judge(one(collapsed, classes=classes), [one(collapsed, classes=classes)], FEW)
    assert both.verdict is Verdict.HELD


def test_numbers_that_are_none_are_broken():
    nan = np.full(2000, np.nan, np.float32)
    report = judge(one(BASE, nll=CONFIDENT[1]), [one(BASE, nll=nan)], replace(FEW, margins={"nll": 0.1}))
    check = checks_of(report)["nll", "none", 0, ""]
    assert (check.verdict, check.reason, report.exit_code) == (Verdict.BROKEN, "not a number", 1)
    back = judge(one(BASE, nll=nan), [one(BASE, nll=CONFIDENT[1])], FEW)
    assert checks_of(back)["nll", "none", 0, ""].verdict is Verdict.NEW


@pytest.mark.parametrize(
    ("floor", "verdict"), [(0.80, Verdict.HELD), (0.845, Verdict.REGRESSED), (0.9, Verdict.REGRESSED)]
)
def test_a_floor_is_cleared_by_the_lower_bound(floor, verdict):
    right = {CLEAN: np.arange(2000) < 1700}  # 85 %, one-sided bound 83.6 %
    report = judge(one(right), [one(right)], replace(FEW, floors={"accuracy": floor}))
    check = checks_of(report, Kind.FLOOR)["accuracy", "none", 0, ""]
    assert (check.verdict, check.baseline, check.candidate) == (verdict, floor, 0.85)
    z = 1.6448536269514722
    bound = (0.85 + z * z / 4000 - z * math.sqrt(0.85 * 0.15 / 2000 + z * z / 4 / 2000**2)) / (1 + z * z / 2000)
    assert check.low == pytest.approx(bound - floor, abs=1e-12)
    assert bool(check.reason) == (floor == 0.845)


def test_floors_of_means_and_of_nothing():
    policy = replace(FEW, floors={"mean_corrupted_accuracy": 0.9, "accuracy:corruption=fog,severity=5": 0.1})
    checks = checks_of(judge(one(BASE), [one(BASE)], policy), Kind.FLOOR)
    assert checks["mean_corrupted_accuracy", "all", "all", ""].verdict is Verdict.REGRESSED
    assert checks["accuracy", "fog", 5, ""].verdict is Verdict.HELD
    missing = judge(one(BASE), [one({CLEAN: BASE[CLEAN]})], policy)
    assert checks_of(missing, Kind.FLOOR)["mean_corrupted_accuracy", "all", "all", ""].verdict is Verdict.MISSING
    with pytest.raises(ConfigError, match="--min takes"):
        judge(one(BASE), [one(BASE)], replace(FEW, floors={"lipschitz_upper": 1.0}))


def test_mean_ce_counts_only_where_it_is_asked_for():
    other = one(flipped(BASE, 0.06, seed=2, drop=0.02))
    assert ("mean_ce", "all", "all", "") not in checks_of(judge(one(BASE), [other], FEW))
    checks = checks_of(judge(one(BASE), [other], replace(FEW, margins={"mean_ce": 0.01})))
    ce, accuracy = (checks[name, "all", "all", ""] for name in ("mean_ce", "mean_corrupted_accuracy"))
    assert (ce.low, ce.high) == pytest.approx((-accuracy.high, -accuracy.low), abs=1e-12)
    assert ce.gated
    assert ce.verdict is Verdict.REGRESSED


def test_a_margin_for_one_condition_counts():
    other = one(flipped(BASE, 0.06, seed=1, drop=0.03, only=[("fog", 5)]))
    key = "accuracy:corruption=fog,severity=5"
    tight, wide = (
        replace(FEW, margins={key: size, "accuracy": 0.5, "mean_corrupted_accuracy": 0.5}) for size in (0.01, 0.05)
    )
    assert [check.name for check in judge(one(BASE), [other], tight).failures] == ["accuracy under fog at severity 5"]
    assert judge(one(BASE), [other], wide).exit_code == 0


def test_another_metric_under_a_condition_is_there_only_where_it_has_a_margin():
    def with_calibration(value):
        run = (one_run := evidence(BASE)).run
        row = next(row for row in run.rows if (row.corruption, row.severity) == ("fog", 5))
        return arm(replace(one_run, run=replace(run, rows=(*run.rows, replace(row, metric="ece", value=value)))))

    arms = with_calibration(0.02), with_calibration(0.06)
    key = ("ece", "fog", 5, "")
    assert key not in checks_of(judge(arms[0], [arms[1]], FEW))
    asked = replace(FEW, margins={"ece:corruption=fog,severity=5": 0.01}, fail_on=("suspect",))
    report = judge(arms[0], [arms[1]], asked)
    assert report.failures == (checks_of(report, Kind.CONDITION)[key],)
    assert report.failures[0].reason == "no interval says whether it is chance"


def test_aggregates_of_imagenet_are_there_on_its_images_only():
    from convbench.metrics.alexnet import CONDITIONS, ERRORS

    columns = {"dataset": "imagenet", "source": "archive", "profile": "imagenet-c"}
    base = draw(0.6, 500, conditions=CONDITIONS)
    other = flipped(base, 0.06, seed=1, drop=0.04)
    checks = checks_of(judge(one(base, **columns), [one(other, **columns)], FEW))
    check = checks["mce_alexnet", "all", "all", ""]
    of_side = []
    for side in (base, other):
        ratios = []
        for corruption, errors in ERRORS.items():
            ours = sum(1 - side[corruption, severity].mean() for severity in range(1, 6))
            ratios.append(ours / sum(errors))
        of_side.append(np.mean(ratios))
    assert (check.baseline, check.candidate) == pytest.approx(of_side, rel=1e-12)
    assert check.low < check.change < check.high
    assert check.verdict is Verdict.REGRESSED
    assert check.gated
    relative = checks["relative_mce_alexnet", "all", "all", ""]
    assert (relative.verdict, relative.reason) == (Verdict.HELD, "neither end is better by itself")
    assert relative.low is not None
    assert ("mce_alexnet", "all", "all", "") not in checks_of(judge(one(base), [one(other)], FEW))
