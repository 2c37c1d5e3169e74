import csv
import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.errors import ConvbenchError, ResultsError
from convbench.rows import COLUMNS, Row, format_rows, read_rows, write_rows

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=12)
ROWS = st.builds(
    Row,
    run_id=TEXT, task=TEXT, dataset=TEXT, model=TEXT, norm=TEXT, label_noise=TEXT, split=TEXT, source=TEXT,
    profile=TEXT, corruption=TEXT, attack=TEXT, metric=TEXT, layer=TEXT,
    seed=st.none() | st.integers(0, 2**40),
    label_noise_rate=st.none() | st.floats(0, 1),
    severity=st.integers(0, 5),
    value=st.floats(),
    n=st.integers(0, 10**9),
)  # fmt: skip


def row(**changes) -> Row:
    values = {
        "run_id": "r", "dataset": "digits", "model": "resnet8", "norm": "bn", "seed": 0, "label_noise": "none",
        "label_noise_rate": 0.0, "split": "test", "metric": "accuracy", "value": 0.5, "n": 10,
    }  # fmt: skip
    return Row(**(values | changes))


def test_the_header_is_the_schema():
    header = format_rows([]).strip()
    assert header == (
        "run_id,task,dataset,model,norm,seed,label_noise,label_noise_rate,"
        "split,source,profile,corruption,severity,attack,metric,layer,value,n"
    )


@given(rows=st.lists(ROWS, max_size=5, unique_by=lambda row: row.key))
def test_any_row_survives_the_file_bit_for_bit(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "results.csv"
    write_rows(path, rows)
    # NaN is unequal to itself, so values are compared by their bits' text.
    assert [list(map(repr, dataclasses.astuple(r))) for r in read_rows(path)] == [
        list(map(repr, dataclasses.astuple(r))) for r in rows
    ]


def test_infinite_and_missing_numbers_are_values(tmp_path):
    write_rows(tmp_path / "r.csv", [row(value=math.inf), row(metric="nll", value=math.nan, seed=None)])
    first, second = read_rows(tmp_path / "r.csv")
    assert first.value == math.inf
    assert math.isnan(second.value)
    assert second.seed is None


def edited(path, change):
    write_rows(path, [row(), row(metric="nll")])
    lines = list(csv.reader(path.read_text().splitlines()))
    change(lines)
    path.write_text("\n".join(",".join(line) for line in lines))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.append(t[1]), "line 4: repeats the key of line 2"),
        (lambda t: t[0].__setitem__(0, "id"), "missing run_id; unknown id"),
        (lambda t: t[0].reverse(), "the columns are in another order"),
        (lambda t: t[1].__setitem__(COLUMNS.index("value"), "good"), "line 2: column value holds 'good'"),
        (lambda t: t[1].__setitem__(COLUMNS.index("label_noise_rate"), "7"), "label_noise_rate 7.0 is outside"),
        (lambda t: t[2].pop(), "line 3: 17 cells, expected 18"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path, change, message):
    path = tmp_path / "results.csv"
    edited(path, change)
    with pytest.raises(ResultsError) as error:
        read_rows(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"epoch,loss\n1,2\n", b"\xff\xfe\x00garbage", b'"unclosed'])
def test_a_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=r"results\.csv"):
        read_rows(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConvbenchError, match="no results at"):
        read_rows(tmp_path / "none.csv")
