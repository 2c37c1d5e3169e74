"""The metrics of a network as the registry offers them, on the models and norms of this package."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from convbench.errors import MetricNotDefinedError
from convbench.metrics import NETWORK_METRICS
from convbench.models import MODELS
from convbench.models.standardize import Classifier, Standardize
from convbench.norms import NORMS

LAYERS = ("spectral_norm", "spectral_norm_composed")
BOUNDS = ("lipschitz_lower_jacobian", "lipschitz_upper_product")


def network(model: str, norm: str, size: int = 16) -> tuple[nn.Module, torch.Tensor]:
    """A network after two batches of noise, and images."""
    torch.manual_seed(0)
    built = Classifier(Standardize((0.5,) * 3, (0.25,) * 3), MODELS.build(model, NORMS.build(norm), 10))
    images = torch.rand(8, 3, size, size)
    for _ in range(2):
        built(images)
    return built, images


@pytest.mark.parametrize("norm", ["bn", "none", "convnorm", "mixture"])
@pytest.mark.parametrize(("model", "size"), [("simple_cnn:width=8", 16), ("resnet8", 8)])
def test_every_norm_is_measured_and_lower_stays_below_upper(model, size, norm):
    built, images = network(model, norm, size)
    lower, upper = (NETWORK_METRICS.build(name, built, images)[""] for name in BOUNDS)
    assert 0 < lower <= upper
    assert (upper == math.inf) == (norm == "mixture")
    norms = NETWORK_METRICS.build("spectral_norm", built, images)
    assert len(norms) == sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network(model, "none")[0].modules())
    if norm == "mixture":
        with pytest.raises(MetricNotDefinedError, match="MixtureNorm2d isn't affine"):
            NETWORK_METRICS.build("spectral_norm_composed", built, images)
    else:
        assert len(NETWORK_METRICS.build("spectral_norm_composed", built, images)) == len(norms) - 1
    assert built.training


@pytest.mark.parametrize("model", ["densenet40:growth=2", "mn_cnn5", "resnet18:stem=imagenet"])
def test_every_family_of_models_has_an_upper_bound(model):
    built, images = network(model, "bn")
    lower, upper = (NETWORK_METRICS.build(name, built, images[:1])[""] for name in BOUNDS)
    assert 0 < lower <= upper < math.inf


def test_none_is_better_when_higher():
    for name in LAYERS + BOUNDS:
        entry = NETWORK_METRICS.entry(name)
        assert entry.facts["higher_is_better"] is False
        assert entry.summary
        assert entry.reference


def test_broken_weights_are_a_reason_not_a_crash():
    built, images = network("simple_cnn:width=4", "bn")
    with torch.no_grad():
        next(m for m in built.modules() if isinstance(m, nn.Conv2d)).weight.fill_(math.nan)
    for name in BOUNDS:
        with pytest.raises(MetricNotDefinedError, match="NaN"):
            NETWORK_METRICS.build(name, built, images)


def test_reading_the_directions_imports_no_torch():
    code = "import sys, convbench.metrics.network; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_certified_accuracy_is_the_accuracy_at_radius_zero_and_needs_the_labels():
    from convbench.lipschitz import certified_radii, lipschitz_upper_product

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    images = torch.rand(40, 3, 2, 2)
    labels = torch.arange(40) % 3
    right = model(images).argmax(1) == labels
    entry = NETWORK_METRICS.entry("certified_accuracy")
    assert entry.facts["labels"]
    assert entry.function(model, images, labels, eps=0.0)[""] == pytest.approx(float(right.float().mean()))
    radii = certified_radii(model(images), labels, lipschitz_upper_product(model, (3, 2, 2)))
    middle = float(radii[radii > 0].median())
    assert entry.function(model, images, labels, eps=middle)[""] == float((radii >= middle).double().mean())
