"""The rules of a gate from flags and files: units, directions, who wins, and that nothing is ignored."""

import itertools
from pathlib import Path

import pytest

from convbench.comparison.quantities import conditions_of, higher_is_better, measure
from convbench.errors import ConfigError
from convbench.gate.arms import Arm
from convbench.gate.comparing import compare_arms
from convbench.gate.limits import policy_of
from convbench.gate.loading import load_arm
from convbench.gate.policy import Policy
from convbench.gate.report import Scale
from convbench.gate.rules import Limit, Rules, rules_from_files, rules_from_flags
from convbench.gate.scales import scale_of
from convbench.metrics import NETWORK_METRICS
from tests.gate.folders import draw_bits, write_folder


@pytest.fixture(scope="module")
def arms(tmp_path_factory) -> tuple[Arm, Arm]:
    root = tmp_path_factory.mktemp("arms")
    first, second = (
        load_arm(str(write_folder(root / name, draw_bits(drop=d)))) for name, d in (("a", 0.0), ("b", 0.1))
    )
    return first, second


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def policy(arms, **flags) -> Policy:
    return policy_of(rules_from_flags(**flags), arms)


def refused(call, *parts: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value), caught.value
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_the_defaults_need_nothing(arms):
    assert policy(arms) == Policy()
    assert policy_of(Rules().over(Rules()), arms) == Policy()


@pytest.mark.parametrize(
    ("flags", "margins"),
    [
        ({"max_drop": ["accuracy=0.5"]}, {"accuracy": 0.005}),
        ({"max_drop": ["clean_acc=0.5pp"]}, {"accuracy": 0.005}),
        (
            {"max_drop": ["clean_accuracy=2", "mean_corrupted_acc=0"]},
            {"accuracy": 0.02, "mean_corrupted_accuracy": 0.0},
        ),
        ({"max_rise": ["mean_ce=1"]}, {"mean_ce": 0.01}),
        ({"max_rise": ["mce=1e0"]}, {"mce": 0.01}),
        ({"max_rise": ["mce:baseline=bn=1"]}, {"mce:baseline=bn": 0.01}),
        ({"max_rise": ["ece=0.01"]}, {"ece": 0.01}),
        ({"max_rise": ["nll=.2"]}, {"nll": 0.2}),
        ({"max_rise": ["lipschitz_upper=5%"]}, {"lipschitz_upper": 0.05}),
        ({"max_rise": ["lipschitz_upper_product=5 %"]}, {"lipschitz_upper_product": 0.05}),
        ({"max_rise": ["spectral_norm=20%"]}, {"spectral_norm": 0.2}),
        ({"max_rise": ["largest_spectral_norm=20%"]}, {"largest_spectral_norm": 0.2}),
        ({"max_drop": ["accuracy=1", "accuracy=2"]}, {"accuracy": 0.02}),
    ],
)
def test_limits_of_metrics_in_their_units(arms, flags, margins):
    assert policy(arms, **flags).margins == pytest.approx(margins)


@pytest.mark.parametrize(
    ("keys", "margins"),
    [
        (["cell:corruption=fog,severity=3=3"], {("fog", 3): 0.03}),
        (["accuracy:severity=3,corruption=fog=3"], {("fog", 3): 0.03}),
        (["cell:corruption=fog=3"], {("fog", 1): 0.03, ("fog", 3): 0.03}),
        (["cell:severity=2-5=3"], {("fog", 3): 0.03, ("snow", 3): 0.03}),
        (["cell:corruption=s*=3"], {("snow", 1): 0.03, ("snow", 3): 0.03}),
        (["cell:corruption=weather=3"], {(c, s): 0.03 for c in ("fog", "snow") for s in (1, 3)}),
        # Whatever the order: what names one condition wins over what names several.
        (["cell:corruption=fog,severity=3=1", "cell:corruption=fog=2", "cell:corruption=*=3"],
         {("fog", 1): 0.02, ("fog", 3): 0.01, ("snow", 1): 0.03, ("snow", 3): 0.03}),
    ],
)  # fmt: skip
def test_limits_of_conditions_stand_for_each_that_they_match(arms, keys, margins):
    expected = {f"accuracy:corruption={c},severity={s}": size for (c, s), size in margins.items()}
    assert policy(arms, max_drop=keys).margins == pytest.approx(expected)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ({"max_drop": ["acuracy=1"]}, ["unknown metric of --max-drop 'acuracy'", "Did you mean 'accuracy'"]),
        ({"max_drop": ["accuracy"]}, ["--max-drop accuracy: give METRIC=AMOUNT, as --max-drop accuracy=0.5"]),
        ({"max_rise": ["=3"]}, ["give METRIC=AMOUNT, as --max-rise lipschitz_upper=5%"]),
        ({"max_drop": ["accuracy=x"]}, ["--max-drop accuracy=x", "must be a number"]),
        ({"max_drop": ["accuracy=nan"]}, ["must be a number"]),
        ({"max_drop": ["accuracy=1e999"]}, ["must be a number"]),
        ({"max_drop": ["accuracy=1.2.3"]}, ["must be a number"]),
        ({"max_drop": ["accuracy=-1"]}, ["a margin is at least 0"]),
        ({"max_drop": ["accuracy=1%"]}, ["percentage points", "without %"]),
        ({"max_rise": ["ece=1%"]}, ["in its own unit"]),
        ({"max_rise": ["lipschitz_upper=5"]}, ["write percent: 5%"]),
        ({"max_rise": ["accuracy=1"]}, ["accuracy is better the higher: write --max-drop accuracy=1"]),
        ({"max_drop": ["ece=1"]}, ["ece is better the lower: write --max-rise ece=1"]),
        ({"max_drop": ["lipschitz_upper=1%"]}, ["--max-rise lipschitz_upper=1%"]),
        ({"max_drop": ["relative_accuracy=1"]}, ["neither end of relative_accuracy is better"]),
        ({"max_rise": ["brier=1"]}, ["neither side has brier; they have accuracy"]),
        ({"max_drop": ["cell:corruption=forst=1"]}, ["matches no condition", "corruptions fog, snow, severities 1, 3"]),
        ({"max_drop": ["cell:corruption=fog,severity=5=1"]}, ["matches no condition"]),
        ({"max_drop": ["cell:severity=x=1"]}, ["--max-drop cell:severity=x", "severity takes a number"]),
        ({"max_drop": ["accuracy:fog=1"]}, ["--max-drop accuracy:fog"]),
        ({"max_rise": ["mean_ce:severity=3=1"]}, ["mean_ce has no value for one condition", "accuracy"]),
        ({"max_drop": ["cell=1"]}, ["unknown metric of --max-drop 'cell'"]),
        ({"minimum": ["ece=1"]}, ["better the higher"]),
        ({"minimum": ["accuracy=101"]}, ["0 to 100"]),
        ({"minimum": ["cell:corruption=fog=50"]}, ["--min cell:corruption=fog: give one metric of"]),
    ],
)
def test_what_is_wrong_with_a_limit_is_said(arms, flags, parts):
    refused(lambda: policy(arms, **flags), *parts)


@pytest.mark.parametrize("text", ["clean_acc=90", "accuracy=90%", "accuracy=9e1"])
def test_floors_are_in_percent(arms, text):
    assert policy(arms, minimum=[text]).floors == {"accuracy": 0.9}


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ({"fail_on": ["regresed"]}, ["--fail-on", "'regresed'", "Did you mean 'regressed'"]),
        ({"gate": ["layrs"]}, ["--gate", "Did you mean 'layers'"]),
        ({"correction": "bonferroni"}, ["--correction", "bh, holm, none"]),
        ({"alpha": 1.5}, ["--alpha must be between 0 and 1, got 1.5"]),
        ({"alpha": float("nan")}, ["--alpha"]),
        ({"resamples": 10}, ["--resamples must be at least 100"]),
    ],
)
def test_wrong_words_are_refused_before_any_run_is_read(flags, parts):
    refused(lambda: rules_from_flags(**flags), *parts)


def test_lists_may_be_repeated_or_written_with_commas(arms):
    for fail_on in (["SUSPECT,broken"], ["suspect", "broken"], [" suspect , broken,suspect"]):
        assert policy(arms, fail_on=fail_on).fail_on == ("suspect", "broken")
    assert policy(arms, gate=["layers,cells"]).gate == ("aggregates", "conditions", "layers")


FILES = {"pyproject.toml": "tool.convbench.compare", "convbench.toml": "compare"}


@pytest.mark.parametrize("name", FILES)
class TestFiles:
    def write(self, name: str, text: str) -> None:
        table = FILES[name]
        text = text.replace("[margin]", f"[{table}.margin]").replace("[min]", f"[{table}.min]")
        Path(name).write_text(f"[{table}]\n{text}")

    def test_every_key_is_read(self, name, arms):
        self.write(
            name,
            'alpha = 0.01\ncorrection = "bh"\nfail-on = ["suspect", "broken"]\nfilter = "severity:3"\n'
            'gate = "conditions"\nresamples = 500\nstrict = true\n[margin]\nclean_acc = 0.4\nlipschitz_upper = "5%"\n'
            '"cell:corruption=fog,severity=3" = 3.0\n[min]\naccuracy = 90\n',
        )
        assert policy_of(rules_from_files(), arms) == Policy(
            margins={"accuracy": 0.004, "lipschitz_upper": 0.05, "accuracy:corruption=fog,severity=3": 0.03},
            floors={"accuracy": 0.9},
            fail_on=("suspect", "broken"),
            gate=("aggregates", "conditions"),
            strict=True,
            alpha=0.01,
            correction="bh",
            resamples=500,
            filter="severity:3",
        )

    def test_flags_win(self, name, arms):
        self.write(
            name,
            'strict = true\nalpha = 0.01\nfail_on = ["suspect"]\n[margin]\naccuracy = 0.4\nece = 0.02\n'
            '"cell:corruption=fog,severity=3" = 3.0\n',
        )
        flags = rules_from_flags(
            strict=False, alpha=0.1, fail_on=["broken"], max_drop=["clean_acc=2", "cell:corruption=fog=1"]
        )
        got = policy_of(flags.over(rules_from_files()), arms)
        assert (got.strict, got.alpha, got.fail_on) == (False, 0.1, ("broken",))
        fog = {f"accuracy:corruption=fog,severity={s}": 0.01 for s in (1, 3)}
        assert got.margins == {"accuracy": 0.02, "ece": 0.02} | fog

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("fail_onn = []", ["unknown key 'fail_onn' of compare. Did you mean 'fail_on'"]),
            ("margins = {}", ["Did you mean 'margin'"]),
            ("strict = 1", ["strict must be true or false, got 1"]),
            ('alpha = "0.05"', ["alpha must be a number"]),
            ("alpha = 2.0", ["--alpha must be between 0 and 1"]),
            ("resamples = 2.5", ["resamples must be a whole number"]),
            ("resamples = true", ["resamples must be a whole number"]),
            ("fail_on = []", ["fail_on is empty", "--exit-zero"]),
            ("fail_on = [1]", ["fail_on must be a list of texts"]),
            ('fail_on = ["bad"]', ["'bad'", "Choose from"]),
            ("margin = 3", ["margin must be a table"]),
            ("[margin]\naccuracy = true", ["accuracy must be a number"]),
            ("alpha = ", ["cannot read"]),
        ],
    )
    def test_what_is_wrong_in_a_file_is_said_with_its_name(self, name, text, parts):
        self.write(name, text)
        refused(rules_from_files, *([name] if "--alpha" not in parts[0] else []), *parts)

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("acuracy = 1", ["unknown metric of", "margin 'acuracy'"]),
            ("lipschitz_upper = 0.05", ["write percent: 0.05%"]),
            ('"cell:corruption=forst" = 1', ["matches no condition"]),
        ],
    )
    def test_limits_of_files_are_checked_as_flags_are(self, name, text, parts, arms):
        self.write(name, f"[margin]\n{text}")
        refused(lambda: policy_of(rules_from_files(), arms), name, *parts)


def test_tables_that_nobody_would_read_are_refused():
    Path("convbench.toml").write_text("[comapre]\nstrict = true\n")
    refused(rules_from_files, "unknown table of convbench.toml 'comapre'", "Did you mean 'compare'")
    Path("convbench.toml").unlink()
    Path("pyproject.toml").write_text("[tool.convbench]\nstrict = true\n")
    refused(rules_from_files, "unknown table of pyproject.toml 'strict'", "Choose from: compare")


def test_tables_of_other_commands_are_left_alone():
    Path("convbench.toml").write_text('dataset = "digits"\n[evaluate]\nseverity = "1-5"\n[compare]\nstrict = true\n')
    assert rules_from_files() == Rules(strict=True)


def test_two_files_with_rules_are_refused_and_others_are_left_alone():
    Path("pyproject.toml").write_text("[project]\nname = 'x'\n[tool.ruff]\nline-length = 3\n")
    assert rules_from_files() == Rules()
    Path("convbench.toml").write_text("[compare]\nstrict = true\n")
    assert rules_from_files() == Rules(strict=True)
    Path("pyproject.toml").write_text("[tool.convbench.compare]\nstrict = true\n")
    refused(rules_from_files, "both convbench.toml and pyproject.toml")


def test_a_limit_that_guards_nothing_is_refused(arms):
    """mce_alexnet is known, and not defined of these images: its margin would be silent."""
    rules = rules_from_flags(max_rise=["mce_alexnet=1"])
    refused(lambda: compare_arms(arms[0], arms[1:], rules), "--max-rise mce_alexnet=1", "nothing was compared")


def test_a_margin_reaches_the_verdict(arms):
    drop = compare_arms(arms[0], arms[1:])
    assert not drop.passed
    rules = rules_from_flags(max_drop=["mean_corrupted_accuracy=30"])
    assert compare_arms(arms[0], arms[1:], rules).passed
    rules = rules_from_flags(max_drop=["mean_corrupted_accuracy=30", "cell:corruption=fog=1"], gate=["conditions"])
    failures = compare_arms(arms[0], arms[1:], rules).failures
    assert {check.corruption for check in failures} >= {"fog"}


def test_every_metric_of_a_run_has_a_scale_and_the_network_is_compared_by_ratios(arms):
    run = arms[0].evidence[0].run
    expected = {
        "accuracy": Scale.POINTS, "mean_corrupted_accuracy": Scale.POINTS, "mean_ce": Scale.POINTS,
        "mce:baseline=bn": Scale.POINTS, "mce_alexnet": Scale.POINTS, "ce_alexnet": Scale.POINTS,
        "relative_mce": Scale.POINTS, "robust_accuracy": Scale.POINTS, "ece": Scale.PLAIN, "nll": Scale.PLAIN,
        "lipschitz_upper_product": Scale.RATIO, "largest_spectral_norm": Scale.RATIO, "anything": Scale.PLAIN,
    }  # fmt: skip
    assert {name: scale_of(name) for name in expected} == expected
    assert all(scale_of(entry.name) is Scale.RATIO for entry in NETWORK_METRICS)
    for quantity in measure(run, conditions_of([run])):
        if scale_of(quantity.metric) is Scale.POINTS and quantity.metric != "relative_accuracy":
            assert higher_is_better(quantity.metric) is not None


def test_a_limit_written_on_either_side_of_a_file_and_a_flag_is_put_down_in_order():
    limits = [Limit(where=where, key=key, amount="1") for where, key in itertools.product(
        ("--max-drop", "pyproject.toml, margin"), ("accuracy", "cell:corruption=fog"))]  # fmt: skip
    file, flags = Rules(margins=tuple(limits[2:])), Rules(margins=tuple(limits[:2]))
    assert flags.over(file).margins == (*limits[2:], *limits[:2])
