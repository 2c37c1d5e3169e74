"""How often the gate is wrong: false alarms where nothing changed, and the drops that it sees; by simulation.

Two networks are drawn from one population: an image has a hardness, a condition makes some images harder for both, and
each network has luck of its own with an image (under every condition) and with an image under one condition. So the
conditions of one image go together, as those of real networks do.

    python benchmarks/gate_calibration.py --grids 1000 --images 10000
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from convbench.comparison.runs import Run
from convbench.gate.arms import Arm, Evidence
from convbench.gate.judging import judge
from convbench.gate.policy import Policy
from convbench.gate.report import Check, Kind, Report, Verdict
from convbench.metrics.corruption_error import Condition
from convbench.rows import Row
from convbench.statistics.intervals import newcombe_paired
from convbench.statistics.paired import mcnemar

CONDITIONS: tuple[Condition, ...] = tuple((f"corruption_{c}", s) for c in range(19) for s in range(1, 6))
OWN_OF_IMAGE, OWN_OF_CONDITION, OF_CONDITION = 0.12, 0.14, 0.6  # standard deviations beside the hardness's of 1


def draw_pair(n: int, seed: int, drop: float = 0.0) -> list[dict[Condition, np.ndarray]]:
    """The bits of two networks on n images, clean and under 95 conditions; the second loses `drop` on average."""
    generator = np.random.default_rng([seed, n])
    spread = np.sqrt(1 + OF_CONDITION**2 + OWN_OF_IMAGE**2 + OWN_OF_CONDITION**2)

    def normal(scale: float) -> np.ndarray:
        return scale * generator.standard_normal(n, dtype=np.float32)

    hardness, own = normal(1), [normal(OWN_OF_IMAGE) for _ in range(2)]
    sides: list[dict[Condition, np.ndarray]] = [{}, {}]
    for corruption, severity in (("none", 0), *CONDITIONS):
        # Accuracies from about 91 % (clean) to 58 %, 75 % in the middle; a normal density turns the drop into a shift.
        border = np.float32(spread * (1.35 - 0.23 * severity))
        density = np.exp(-((border / spread) ** 2) / 2) / np.sqrt(2 * np.pi)
        shared = hardness + normal(OF_CONDITION)
        for side, luck in enumerate(own):
            shift = np.float32(side * spread * drop / density)
            sides[side][corruption, severity] = shared + luck + normal(OWN_OF_CONDITION) < border - shift
    return sides


def arm_of(bits: dict[Condition, np.ndarray], label: str) -> Arm:
    """An arm of one run with these bits."""
    rows = tuple(
        Row(
            run_id=label, dataset="simulated", model="none", norm="bn", seed=0, label_noise="none",
            label_noise_rate=0.0, split="test", corruption=corruption, severity=severity, metric="accuracy",
            value=float(right.mean()), n=len(right),
        )
        for (corruption, severity), right in bits.items()
    )  # fmt: skip
    return Arm(label=label, source=label, evidence=(Evidence(run=Run(rows=rows), correct=bits),))


@dataclass
class Grids:
    """Over simulated grids: how many went red by each rule, and how many intervals of the mean held the truth."""

    grids: int = 0
    red: Counter[str] | None = None
    covered: int = 0
    discordant: float = 0.0

    def share(self, rule: str) -> float:
        """How many of the grids `rule` turned red."""
        return (self.red or Counter())[rule] / max(self.grids, 1)


def simulate(grids: int, n: int, drop: float = 0.0, first: int = 0) -> Grids:
    """Judge so many pairs of networks by several rules at once."""
    result = Grids(red=Counter())
    assert result.red is not None
    for seed in range(first, first + grids):
        before, after = draw_pair(n, seed, drop)
        arms = arm_of(before, "before"), arm_of(after, "after")
        policy = Policy(gate=("aggregates", "conditions"))
        report = judge(arms[0], [arms[1]], policy)
        # What is not red is not red under --strict either.
        strict = report if report.passed else judge(arms[0], [arms[1]], replace(policy, strict=True))
        result.grids += 1
        result.red.update(_red(report, strict))
        mean = next(check for check in _checks(report) if check.metric == "mean_corrupted_accuracy")
        assert mean.low is not None
        assert mean.high is not None
        result.covered += mean.low <= -drop <= mean.high
        found = [check for check in _checks(report) if check.kind is Kind.CONDITION]
        result.discordant += float(np.mean([((c.lost or 0) + (c.gained or 0)) / c.n for c in found]))
    return result


def _checks(report: Report) -> tuple[Check, ...]:
    return report.judgements[0].checks


def _red(report: Report, strict: Report) -> Iterator[str]:
    cells = [check for check in _checks(report) if check.kind is Kind.CONDITION]
    if any(check.worsening > 0.005 for check in cells):
        yield "fixed"
    if any(check.worsening > 0 and check.p is not None and check.p < 0.05 for check in cells):
        yield "uncorrected"
    for name, judged in {"": report, "strict ": strict}.items():
        bad = {check.kind for check in _checks(judged) if check.gated and check.verdict is Verdict.REGRESSED}
        yield from (f"{name}aggregates" for _ in bad & {Kind.AGGREGATE})
        yield from (f"{name}conditions" for _ in bad & {Kind.CONDITION})
        yield from (f"{name}both" for _ in range(bool(bad)))


# n, discordant, true drop -> per cent of runs that go red by any drop, a drop of over 0.5 points, the paired test, and
# the unpaired z-test, as a first simulation of 2,000 runs a row gave them.
POWER = {
    (10_000, 0.06, 0.0): (49, 2, 2.8, 0),
    (10_000, 0.06, 0.01): (100, 98, 98.6, 18.8),
    (10_000, 0.12, 0.01): (100, 92, 82, 27),
    (1000, 0.06, 0.0): (45, 23, 2.9, 0),
    (1000, 0.06, 0.02): (100, 98, 76, 1.4),
    (200, 0.08, 0.05): (99, 98, 73, 2.5),
}


def power(n: int, discordant: float, drop: float, runs: int = 20_000) -> tuple[float, float, float, float, float]:
    """Per cent of runs that go red by the rules of `POWER`, and the coverage of the paired interval; accuracy 75 %."""
    lost, gained = (discordant + drop) / 2, (discordant - drop) / 2
    generator = np.random.default_rng([n, round(1e4 * discordant), round(1e4 * drop)])
    both, b, c, neither = generator.multinomial(n, [0.75 - lost, lost, gained, 0.25 - gained], runs).T
    worse = (b - c) / n
    pooled = (2 * both + b + c) / (2 * n)
    z = worse / np.sqrt(2 * pooled * (1 - pooled) / n)
    low, high = newcombe_paired(both, b, c, neither)
    rules = worse > 0, worse > 0.005, (worse > 0) & (mcnemar(b, c) < 0.05), z > 1.959964
    any_drop, fixed, paired, unpaired = (100 * float(rule.mean()) for rule in rules)
    return any_drop, fixed, paired, unpaired, 100 * float(((low <= -drop) & (-drop <= high)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first grid")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--drop", type=float, default=0.0)
    options = parser.parse_args()
    print("| n | discordant | drop | any drop | > 0.5 points | paired test | unpaired z | interval covers |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for (n, discordant, drop), then in POWER.items():
        *red, covered = power(n, discordant, drop)
        cells = " | ".join(f"{now:.1f} ({before})" for now, before in zip(red, then, strict=True))
        print(f"| {n} | {discordant:.0%} | {drop:.1%} | {cells} | {covered:.1f} |")
    found = simulate(options.grids, options.images, options.drop, options.first)
    discordant = found.discordant / found.grids
    what = f"{options.images} images, drop {options.drop:.1%}, {discordant:.1%} discordant"
    print(f"\n{found.grids} grids of 95 conditions, {what}")
    print("\n| rule | red |\n|:--|--:|")
    words = {
        "fixed": "a condition drops by more than 0.5 points",
        "uncorrected": "a condition with p < 0.05",
        "aggregates": "the gate: clean and mean accuracy",
        "conditions": "the gate on conditions (Holm)",
        "both": "the gate on both",
    }
    words |= {f"strict {name}": f"{words[name]}, --strict" for name in ("aggregates", "conditions", "both")}
    for rule, text in words.items():
        print(f"| {text} | {100 * found.share(rule):.1f} % |")
    print(f"\nthe interval of the mean holds the truth in {100 * found.covered / found.grids:.1f} % of the grids")


if __name__ == "__main__":
    main()
