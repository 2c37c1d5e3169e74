"""Ranks with ties: against a loop over all pairs, by simulation, and what the leaderboard says."""

from itertools import combinations

import numpy as np
import pytest
import scipy.stats

from convbench.comparison import compare, load_runs
from convbench.comparison.latex import latex_text
from convbench.comparison.leaderboard import leaderboard
from convbench.comparison.markdown import markdown_text
from convbench.comparison.quantities import CLEAN, CORRUPTED, LARGEST_BARE, LIPSCHITZ_UPPER
from convbench.comparison.standings import rank_text, ranked_by, standings
from convbench.comparison.terminal import terminal_text
from tests.comparison.test_evidence import write_bits

NORMS = ("none", "bn", "convnorm", "mixture")


def ranks(comparison, quantity):
    found = standings(comparison, comparison.groups, quantity)
    return {standing.group.name: standing.rank for standing in found}


def independent_ranks(values, *, upward=True, alpha=0.05):
    """Welch's test of each pair by SciPy, Holm's steps as in a textbook, then counting."""
    tests = []
    for a, b in combinations(values, 2):
        test = scipy.stats.ttest_ind(values[a], values[b], equal_var=False)
        ahead = bool(test.statistic > 0) is upward
        tests.append((float(test.pvalue), a if ahead else b, b if ahead else a))
    tests.sort()
    found = {name: [1, len(values)] for name in values}
    for step, (p, better, worse) in enumerate(tests):
        if p >= alpha / (len(tests) - step):
            break
        found[better][1] -= 1
        found[worse][0] += 1
    return {name: tuple(rank) for name, rank in found.items()}


def test_ranks_are_the_places_that_holms_tests_leave_open(make_run):
    clean = {("bn", 0): 0.90, ("bn", 1): 0.905, ("bn", 2): 0.91, ("none", 0): 0.80, ("none", 1): 0.81,
             ("none", 2): 0.82, ("gn", 0): 0.89, ("gn", 1): 0.90, ("gn", 2): 0.91}  # fmt: skip
    runs = [make_run(norm, seed, clean=value) for (norm, seed), value in clean.items()]
    comparison = compare(runs)

    def of_groups(metric):
        clean_rows = [row for run in runs for row in run.rows if (row.metric, row.severity) == (metric, 0)]
        return {g.name: [row.value for row in clean_rows if row.norm == g.name] for g in comparison.groups}

    found = ranks(comparison, CLEAN)
    assert found == independent_ranks(of_groups("accuracy"))
    assert found == {"bn": (1, 2), "gn": (1, 2), "none": (3, 3)}  # what a reader expects of these numbers
    upper = of_groups("lipschitz_upper_product")
    assert ranks(comparison, LIPSCHITZ_UPPER) == independent_ranks(upper, upward=False)


def test_the_best_mean_comes_first_in_the_direction_of_the_metric(make_run):
    comparison = compare([make_run(norm, seed) for norm in NORMS for seed in (0, 1, 2)])
    for quantity, sign in ((CORRUPTED, -1), (LARGEST_BARE, 1)):
        means = [sign * standing.estimate.mean for standing in standings(comparison, comparison.groups, quantity)]
        assert means == sorted(means)


def test_ranks_hold_together_in_95_of_100_repetitions():
    """Five groups of three runs, two of them equal: the true ranks lie in all ranges at once, in 95 % or more."""
    from convbench.comparison.quantities import Measurement, estimate
    from convbench.comparison.standings import _ranks

    generator = np.random.default_rng(7)
    truth = {"a": 0.70, "b": 0.70, "c": 0.72, "d": 0.72, "e": 0.75}
    # Of equal ones any order is true.
    places = {"a": {4, 5}, "b": {4, 5}, "c": {2, 3}, "d": {2, 3}, "e": {1}}
    held = 0
    for _ in range(400):
        estimates = {
            name: estimate([Measurement(value, 100) for value in generator.normal(mean, 0.005, 3)])
            for name, mean in truth.items()
        }
        found = _ranks(estimates, dict.fromkeys(estimates), upward=True)
        held += all(found[name][0] <= min(places[name]) and max(places[name]) <= found[name][1] for name in truth)
    # 0.95 of 400 less three standard errors; Holm is conservative, so that it lies above.
    assert held >= 380 - 3 * 4.4


def test_single_runs_are_ranked_by_their_images_and_it_says_so(write_run, tmp_path):
    for norm in NORMS:
        write_bits(write_run(norm, n=2000))
    write_bits(write_run("bn", 1, n=2000))
    comparison = compare(load_runs(root=tmp_path / "runs").runs)
    board = leaderboard(comparison)
    assert board is not None
    ((_, rows),) = board.blocks.items()
    # Chance decides which images are right here: 3 points of a mean over 10 conditions of 2,000 images are certain.
    places = {row[0]: row[1] for row in rows}
    assert places["none"] == "4"
    assert {row[0]: row[2] for row in rows}["bn"] == "2"
    assert all("[" in row[4] for row in rows)
    assert [bool(row[6]) for row in rows] == [row[0] != "bn" for row in rows]
    caveat = "Images only; says nothing about retraining noise: fewer than 3 runs."
    assert board.caveat == caveat
    for render in (terminal_text, markdown_text, latex_text):
        assert caveat in render(comparison)
    assert caveat not in markdown_text(comparison).split("<details>", 1)[1]  # where it is folded away
    assert max(map(len, terminal_text(comparison).splitlines())) <= 80


def test_runs_that_were_not_measured_alike_are_not_ranked(make_run):
    other = {"corruption_seed": 1}
    runs = [make_run(norm, seed, settings=other if norm == "bn" else {}) for norm in NORMS for seed in (0, 1, 2)]
    comparison = compare(runs)
    assert set(ranks(comparison, CORRUPTED).values()) == {None}
    assert all(standing.change is None for standing in standings(comparison, comparison.groups, CORRUPTED))
    board = leaderboard(comparison)
    assert board is not None
    assert "no rank: these runs were not measured alike" in board.explanations


def test_without_evidence_there_is_no_leaderboard(make_run):
    assert leaderboard(compare([make_run(norm) for norm in NORMS])) is None  # the corrupted mean has no interval
    assert leaderboard(compare([make_run("bn", seed) for seed in range(3)])) is None  # one group
    clean = compare([make_run(norm, corruptions=[]) for norm in NORMS])  # each alone has an interval, no pair has
    assert ranked_by(clean) == CLEAN
    assert leaderboard(clean) is None


def test_a_group_without_the_number_stands_below_and_is_not_ranked(make_run):
    runs = [make_run(norm, seed) for norm in NORMS[:2] for seed in (0, 1, 2)]
    comparison = compare([*runs, make_run("gn", corruptions=["fog"])])
    board = leaderboard(comparison)
    assert board is not None
    ((_, rows),) = board.blocks.items()
    assert rows[-1] == ("gn", "-", "1", "n/a", "n/a", "", "")
    assert board.caveat == ""  # of those that are ranked
    assert {row[1] for row in rows[:2]} == {"1", "2"}


def test_a_group_of_few_runs_among_others_is_named(write_run, tmp_path):
    for norm, seed in (("bn", 0), ("bn", 1), ("bn", 2), ("none", 0)):
        write_bits(write_run(norm, seed, n=2000))
    comparison = compare(load_runs(root=tmp_path / "runs").runs)
    board = leaderboard(comparison)
    assert board is not None
    assert board.caveat.startswith("Images only for none; says nothing about retraining noise")
    found = {standing.group.name: standing.over for standing in standings(comparison, comparison.groups, CORRUPTED)}
    assert found == {"bn": "seeds", "none": "images"}


def test_only_groups_of_equal_settings_are_ranked_among_each_other(make_run):
    runs = [
        make_run(norm, seed, label_noise_rate=rate, clean=0.97 - rate, run_id=f"{norm}{rate}{seed}")
        for norm in NORMS[:2]
        for rate in (0.0, 0.4)
        for seed in (0, 1, 2)
    ]
    board = leaderboard(compare(runs))
    assert board is not None
    assert [[row[1] for row in rows] for rows in board.blocks.values()] == [["1", "2"], ["1", "2"]]


def test_every_output_says_the_same_rank(make_run):
    comparison = compare([make_run(norm, seed) for norm in NORMS for seed in (0, 1, 2)])
    board = leaderboard(comparison)
    assert board is not None
    ((_, rows),) = board.blocks.items()
    terminal, markdown, latex = (render(comparison) for render in (terminal_text, markdown_text, latex_text))
    for name, rank, _, mean, interval, *_ in rows:
        assert any(line.split()[:2] == [name, rank] and interval in line for line in terminal.splitlines())
        assert f"| {rank} | `{name}` | 3 | {mean} | {interval} |" in markdown
        assert f"{name} & {rank.replace('-', '--')} & 3 &" in latex


@pytest.mark.parametrize(("rank", "text"), [(None, "-"), ((1, 1), "1"), ((2, 4), "2-4")])
def test_a_rank_reads(rank, text):
    assert rank_text(rank) == text
