"""Outputs of 10,000 conditions: made in less than two seconds of CPU each."""

import importlib
import time
from functools import cache

import pytest

from tests.gate.reports import regressed

SECONDS = 2.0  # each took 0.6 or less


@cache
def big():
    return regressed(count=10_000)


@pytest.mark.parametrize(
    "kind", ["terminal", "markdown", "tidy", "json_report", "junit", "gitlab_metrics", "gha_benchmark"]
)
def test_an_output_is_made_in_time(kind):
    module = importlib.import_module(f"convbench.gate.outputs.{kind}")
    module.text(regressed(count=1))  # imports
    start = time.process_time()
    text = module.text(big())
    assert time.process_time() - start < SECONDS
    assert "REGRESSED" in text
