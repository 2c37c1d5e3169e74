"""The numbers of the layers as rows of an evaluation: one computation, enclosed norms, broken layers kept apart."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import convbench.spectral.layer_table as module
from convbench.config import EvalConfig
from convbench.errors import ConfigError, MetricNotDefinedError, UnknownNameError
from convbench.metrics import NETWORK_METRICS
from convbench.metrics.contract import PartialValues
from convbench.metrics.sharing import SharedWork, once, sharing
from convbench.names import resolved_evaluation
from convbench.results import collect, evaluate_to
from convbench.subject import Subject

ENCLOSED = ("spectral_norm", "spectral_norm_composed")
LAYERS = tuple(
    entry.name for entry in NETWORK_METRICS if entry.function.__module__ == "convbench.metrics.network"
)  # whatever is registered there


class Net(nn.Module):
    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, stride=4)
        self.bn = norm or nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 5, 3, stride=2)
        self.head = nn.Linear(5 * 9, 10)

    def forward(self, x):
        return self.head(self.second(self.bn(self.first(x)).relu()).flatten(1))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32)


def subject(network: nn.Module) -> Subject:
    return Subject(network.eval(), run_id="net", dataset="synthetic", model="net", norm="bn", weights_sha256="1")


def evaluated(network: nn.Module, folder: Path, **options):
    config = EvalConfig(examples=4, lipschitz_examples=2, **{"network_metrics": LAYERS, **options})
    return evaluate_to(folder, subject(network), config, device="cpu")


@pytest.mark.usefixtures("drawn_once")
def test_every_norm_is_enclosed_and_all_rows_come_from_one_table(tmp_path, monkeypatch):
    made = []
    for name in ("layer_table", "with_conditioning"):
        original = getattr(module, name)

        def counted(*args, original=original, name=name, **options):
            made.append((name, options["budget"]))
            return original(*args, **options)

        monkeypatch.setattr(module, name, counted)
    results = evaluated(Net(), tmp_path)
    assert sorted(made) == [("layer_table", "exact"), ("with_conditioning", "exact")]
    values = {(row.metric, row.layer): row.value for row in results.rows if row.layer}
    assert {metric for metric, _ in values} == set(LAYERS)
    for (metric, layer), value in values.items():
        if metric in ENCLOSED:
            assert 0 < values[f"{metric}_lower", layer] <= value <= values[f"{metric}_upper", layer] < math.inf
    assert {layer for metric, layer in values if metric == "spectral_norm"} == {"first", "second", "head"}
    assert {layer for metric, layer in values if metric == "spectral_norm_composed_upper"} == {"first"}
    assert collect(tmp_path).rows == results.rows


@pytest.mark.usefixtures("drawn_once")
def test_a_broken_layer_is_written_as_nan_and_named_once(tmp_path):
    whole = evaluated(Net(), tmp_path / "whole")
    network = Net()
    nn.init.constant_(network.second.weight, math.nan)
    broken = evaluated(network, tmp_path / "broken")
    before, after = (
        {(row.metric, row.layer): row.value for row in results.rows if row.layer} for results in (whole, broken)
    )
    assert before.keys() == after.keys()
    for (metric, layer), value in after.items():
        assert math.isnan(value) if layer == "second" else value == before[metric, layer]
    (note,) = broken.notes
    assert note.endswith("layer second: Conv2d: parameter 'weight' has 180 NaN or infinite values of 180")
    assert note.startswith("condition_number, kernel_matrix_norm, spectral_norm, spectral_norm_lower")


@pytest.mark.usefixtures("drawn_once")
def test_numbers_of_two_budgets_do_not_go_into_one_file(tmp_path):
    fast = evaluated(Net(), tmp_path, spectral_budget="fast", network_metrics=("spectral_norm",))
    assert any(row.metric == "spectral_norm" for row in fast.rows)
    with pytest.raises(ConfigError, match="spectral_budget = 'fast', now it is 'exact'"):
        evaluated(Net(), tmp_path)
    with pytest.raises(ConfigError, match="--spectral-budget must be one of exact, fast, got 'cheap'"):
        EvalConfig(spectral_budget="cheap")


def test_the_group_of_layers_is_spelled_out_once():
    config = resolved_evaluation(EvalConfig(network_metrics=("layers", "spectral_norm_upper")))
    assert len(set(config.network_metrics)) == len(config.network_metrics) == len(LAYERS) - 1
    assert set(LAYERS) - set(config.network_metrics) == {"condition_number"}  # it takes seconds per layer
    assert set(config.network_metrics) < set(resolved_evaluation(EvalConfig()).network_metrics)
    with pytest.raises(UnknownNameError, match=r"unknown metric 'layer'. Did you mean 'layers'"):
        resolved_evaluation(EvalConfig(network_metrics=("layer",)))


def test_what_no_layer_has_is_a_reason(images):
    network = Net(nn.GroupNorm(2, 4))
    for name in ("spectral_norm_composed", "spectral_norm_composed_upper"):
        with pytest.raises(MetricNotDefinedError, match=r"^Conv2d \+ GroupNorm isn't affine in evaluation mode"):
            NETWORK_METRICS.build(name, network, images)
    with pytest.raises(MetricNotDefinedError, match="no convolution is followed by a normalization"):
        NETWORK_METRICS.build("spectral_norm_composed", Net(nn.Identity()), images)
    with pytest.raises(MetricNotDefinedError, match="neither a convolution nor a linear layer"):
        NETWORK_METRICS.build("stable_rank", nn.Flatten(), images)


def test_what_some_layers_have_is_given_with_a_note(images):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=4), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Flatten(),
        nn.Linear(4 * 64, 10),
    )  # fmt: skip
    values = NETWORK_METRICS.build("spectral_norm_composed", network, images)
    assert isinstance(values, PartialValues)
    assert list(values) == ["2"]
    assert values.note.startswith("layer 0: Conv2d + GroupNorm isn't affine")


def test_outside_of_an_evaluation_nothing_is_remembered(images):
    network = Net()
    before = NETWORK_METRICS.build("spectral_norm", network, images)
    nn.init.zeros_(network.head.weight)
    assert before["head"] > 0
    assert NETWORK_METRICS.build("spectral_norm", network, images)["head"] == 0.0


def test_shared_work_is_done_once_by_key_and_a_reason_is_remembered():
    calls = []

    def compute(on_step):
        calls.append(on_step)
        return len(calls)

    def refuse(on_step):
        calls.append(on_step)
        raise MetricNotDefinedError("no such number")

    work = SharedWork(on_step=lambda *step: None)
    with sharing(work):
        assert [once("a", compute), once("a", compute), once(("b", 1), compute)] == [1, 1, 2]
        for _ in range(2):
            with pytest.raises(MetricNotDefinedError, match="no such number"):
                once("c", refuse)
    assert calls == [work.on_step] * 3
    with sharing(SharedWork()):
        assert once("a", compute) == 4
    assert once("a", compute) == 5
    assert calls[-1] is None
