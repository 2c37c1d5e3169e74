"""Slopes, estimates and the order of bounds as metrics of a network."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.lipschitz import clever_scores, local_jacobian_norms, margin_gradients
from convbench.metrics import NETWORK_METRICS
from convbench.metrics.bound_order import broken_order
from convbench.metrics.sharing import SharedWork, sharing

ESTIMATES = ("local_jacobian_norm", "local_margin_gradient", "clever", "clever_fit_failed")
BOUNDS = ("lipschitz_lower_pairs", "lipschitz_lower_jacobian", "lipschitz_lower_ascent")


def images(count: int = 5) -> torch.Tensor:
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()


def test_a_statistic_is_numpys_quantile():
    model = network()
    norms = local_jacobian_norms(model, images()).numpy()
    slopes = margin_gradients(model, images())
    for name, share in (("median", 0.5), ("p95", 0.95), ("max", 1.0)):
        found = NETWORK_METRICS.build(f"local_jacobian_norm:statistic={name}", model, images())
        assert found == {"": pytest.approx(np.quantile(norms, share), rel=1e-12)}
        found = NETWORK_METRICS.build(f"local_margin_gradient:distance=linf,statistic={name}", model, images())
        assert found == {"": pytest.approx(np.quantile(slopes.linf.numpy(), share), rel=1e-12)}
    found = NETWORK_METRICS.build("local_margin_gradient", model, images())
    assert found == {"": pytest.approx(np.median(slopes.l2.numpy()), rel=1e-12)}


def test_the_bounds_from_below_are_ordered_and_below_the_one_from_above():
    model = network()
    pairs, data, searched = (NETWORK_METRICS.build(name, model, images())[""] for name in BOUNDS)
    assert 0 < pairs <= data <= searched
    upper = NETWORK_METRICS.build("lipschitz_upper_product", model, images())[""]
    assert searched <= upper
    assert (
        broken_order(dict(zip((*BOUNDS, "lipschitz_upper_product"), (pairs, data, searched, upper), strict=True))) == ""
    )


def test_clever_says_how_many_fits_failed_and_is_computed_once(monkeypatch):
    from convbench import lipschitz

    calls = []
    monkeypatch.setattr(lipschitz, "clever_scores", lambda *a, **k: (calls.append(1), clever_scores(*a, **k))[1])
    options = "radius=0.5,batches=3,samples=2,examples=2"
    with sharing(SharedWork()):
        score = NETWORK_METRICS.build(f"clever:{options}", network(), images())
        share = NETWORK_METRICS.build(f"clever_fit_failed:{options}", network(), images())
    assert len(calls) == 1
    expected = clever_scores(network(), images()[:2], radius=0.5, batches=3, samples=2)
    assert score[""] == pytest.approx(float(np.median(expected.radius)))
    assert share[""] == expected.failed.mean() > 0
    assert f"{expected.failed.sum()} of 8 extreme value fits failed" in score.note


def test_wrong_options_are_reasons():
    with pytest.raises(MetricNotDefinedError, match=r"unknown statistic 'mean'; choose from: median, p95, max"):
        NETWORK_METRICS.build("local_jacobian_norm:statistic=mean", network(), images())
    with pytest.raises(MetricNotDefinedError, match=r"unknown distance 'l1'; choose from: l2, linf"):
        NETWORK_METRICS.build("local_margin_gradient:distance=l1", network(), images())
    with pytest.raises(MetricNotDefinedError, match="batches >= 2"):
        NETWORK_METRICS.build("clever:batches=1", network(), images())
    with pytest.raises(MetricNotDefinedError, match="at least one image"):
        NETWORK_METRICS.build("clever:examples=0", network(), images())


@pytest.mark.parametrize("name", [*ESTIMATES, *BOUNDS])
def test_a_broken_network_is_a_reason_not_a_crash(name):
    model = network()
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] = math.nan
    with pytest.raises(MetricNotDefinedError, match=r"parameter '0.weight' has 1 NaN"):
        NETWORK_METRICS.build(name, model, images())


@pytest.mark.parametrize("name", [*ESTIMATES, *BOUNDS])
def test_every_entry_says_what_it_is_and_no_estimate_is_called_a_bound(name):
    entry = NETWORK_METRICS.entry(name)
    assert entry.summary
    assert entry.reference
    assert entry.facts["higher_is_better"] is (
        True if name == "clever" else None if name.startswith("clever") else False
    )
    assert name.startswith("lipschitz_lower_") == (name in BOUNDS)


def test_a_lower_bound_above_an_upper_one_is_called_broken():
    upper = {"lipschitz_upper_product": 9.0, "lipschitz_upper_averaged": 4.0}
    assert broken_order({"lipschitz_lower_jacobian": 4.0} | upper) == ""
    found = broken_order({"lipschitz_lower_pairs": 1.0, "lipschitz_lower_ascent:steps=9": 4.5} | upper)
    assert "BROKEN" in found
    assert "lipschitz_lower_ascent:steps=9 = 4.5 lies above the upper bound lipschitz_upper_averaged = 4.0" in found
    assert broken_order({"lipschitz_lower_pairs": math.nan} | upper) == ""
    assert broken_order({"lipschitz_lower_pairs": 1.0, "clever": 9.0}) == broken_order(upper) == broken_order({}) == ""
    assert broken_order({"lipschitz_lower_pairs": 1.0, "lipschitz_upper_product": math.inf}) == ""


def test_a_run_with_a_broken_order_keeps_its_rows_and_says_so(tmp_path):
    from convbench.results import collect
    from convbench.rows import Row

    (tmp_path / "evaluation").mkdir()
    identity = {"run_id": "r", "dataset": "digits", "model": "m", "norm": "bn", "seed": 0, "split": "test", "n": 4}
    identity |= {"label_noise": "none", "label_noise_rate": 0.0}
    for name, value in (("lipschitz_lower_jacobian", 2.0), ("lipschitz_upper_product", 1.0)):
        row = vars(Row(**identity, metric=name, value=value)) | {"value": repr(value)}
        (tmp_path / "evaluation" / f"{name}.json").write_text(json.dumps({"rows": [row]}))
    results = collect(tmp_path)
    assert [row.value for row in results.rows] == [2.0, 1.0]
    assert (tmp_path / "results.csv").read_text().count("lipschitz") == 2
    assert any(note.startswith("BROKEN: the lower bound lipschitz_lower_jacobian = 2.0") for note in results.notes)


def test_reading_the_directions_imports_neither_torch_nor_scipy():
    code = "import sys, convbench.metrics.local_slopes; sys.exit(bool({'torch', 'scipy', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
