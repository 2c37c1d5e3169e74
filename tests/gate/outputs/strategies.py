"""Any report: every verdict and scale, numbers that are missing or not finite, names that no format expects."""

from hypothesis import strategies as st

from convbench.gate.policy import CORRECTIONS, VERDICTS_THAT_MAY_FAIL, Policy
from convbench.gate.report import Check, Judgement, Kind, Report, Scale, Side, Verdict

# What a format or a terminal gives a meaning, and what is no text at all.
SPECIAL = (
    "|", "\\", "`", "``", "*", "_", "[red]", "[/]", "](x)", "<b>", "</details>", "&amp;", "]]>", '"', "'", ",", ":",
    "::", "%0A", "%", "=", "@you", "$x$", "~~", "#1", ":smile:", "\n", "\r\n", "\t", "\x00", "\x1b[31m", "\x85",
    "\u2028", "\u202e", "\ud800", "\ufffe", "é", "漢字", "\U0001f600", "a" * 400, " ", "- -",
)  # fmt: skip
NUMBERS = (
    None, float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 0.5, 0.7402, -0.0078, 1.0, -1.0, 0.1 + 0.2, 5e-324,
    -1e-9, 1e-4, 0.02, 12.5, -999.5, 1e6, 3.1e6, 1e22, -1e300, 1.7976931348623157e308,
)  # fmt: skip
# Drawn from lists: a report has hundreds of values, and free ones would take most of the time of a test.
names = st.lists(st.sampled_from(SPECIAL), max_size=3).map("".join)
numbers = st.sampled_from(NUMBERS)
counts = st.sampled_from([None, 0, 1, 12_345, 10**9])
mappings = st.dictionaries(names, numbers | names | st.sampled_from([True, ["a", "|"], {"b": ("c",)}]), max_size=2)

checks = st.builds(
    Check,
    kind=st.sampled_from(list(Kind)),
    metric=st.sampled_from(["accuracy", "accuracy", "ece", "mce:baseline=bn", *SPECIAL]),
    corruption=st.sampled_from(["none", "all", "fog"]) | names,
    severity=st.sampled_from([0, 1, 5, "all", *SPECIAL]),
    layer=st.just("") | names,
    higher_is_better=st.booleans(),
    scale=st.sampled_from(list(Scale)),
    baseline=numbers,
    candidate=numbers,
    change=numbers,
    low=numbers,
    high=numbers,
    p=numbers,
    p_adjusted=numbers,
    n=st.sampled_from([0, 1, 360, 1000, 10**7]),
    lost=counts,
    gained=counts,
    margin=numbers,
    detectable=numbers,
    method=names,
    verdict=st.sampled_from(list(Verdict)),
    gated=st.booleans(),
    reason=names,
)
sides = st.builds(
    Side,
    label=names,
    run_ids=st.lists(names, min_size=1, max_size=3).map(tuple),
    seeds=st.lists(st.none() | st.integers(0, 9), max_size=3).map(tuple),
    facts=mappings,
    record=mappings,
)
judgements = st.builds(
    Judgement,
    candidate=sides,
    paired=st.booleans(),
    checks=st.lists(checks, max_size=5).map(tuple),
    notes=st.lists(names, max_size=2).map(tuple),
)
policies = st.builds(
    Policy,
    fail_on=st.lists(st.sampled_from(VERDICTS_THAT_MAY_FAIL), unique=True).map(tuple),
    correction=st.sampled_from(CORRECTIONS),
    margins=st.dictionaries(names, numbers.filter(lambda number: number is not None), max_size=2),
    filter=names,
    strict=st.booleans(),
)
reports = st.builds(
    Report,
    baseline=sides,
    judgements=st.lists(judgements, min_size=1, max_size=2).map(tuple),
    policy=policies,
    fingerprint=mappings,
    version=names,
)
