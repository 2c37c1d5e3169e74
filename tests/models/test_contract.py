"""What holds for every registered model with every registered norm; a new entry is tested by being registered."""

import pytest
import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from convbench.errors import ConfigError
from convbench.models import MODELS, Classifier, Standardize, build_model
from convbench.norms import NORMS
from convbench.registry import Entry


def random_images(n: int, channels: int, size: int) -> torch.Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(7))


@pytest.fixture(params=MODELS.names())
def model(request: pytest.FixtureRequest) -> str:
    return request.param


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("convbench.norms") or super().is_leaf_module(m, module_qualified_name)


# One test for all that needs a network: building the large ones takes longer than the checks.
@pytest.mark.parametrize("norm", NORMS.names())
def test_network_keeps_the_contract(model: str, norm: str) -> None:
    network = build_model(model, norm, num_classes=5, mean=(0.4,), std=(0.2,))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
    assert all((conv.bias is None) == NORMS.build(norm).has_shift for conv in convolutions)

    images = random_images(3, 3, 16)
    try:
        logits = network(images)
    except ConfigError as refusal:
        if "1x1 pixels" not in str(refusal):  # the last maps of a VGG at 16 px, which instance normalization refuses
            raise
        images = random_images(3, 3, 32)
        logits = network(images)
    assert logits.shape == (3, 5)
    assert logits.dtype == torch.float32
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name

    network.eval()
    traced = fx.GraphModule(network, _Tracer().trace(network))
    with torch.no_grad(), parametrize.cached():  # weights that are computed take longer than the network
        together = network(images)
        torch.testing.assert_close(traced(images), together)
        tolerance = 1e-4 * together.abs().max().item()
        torch.testing.assert_close(network(images[1:2]), together[1:2], rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_and_channels(model: str, channels: int) -> None:
    network = build_model(model, num_classes=3, in_channels=channels).eval()
    with torch.no_grad():
        for size in (28, 32, 45):
            assert network(random_images(1, channels, size)).shape == (1, 3)


@pytest.mark.parametrize("norm", [name for name in NORMS.names() if not NORMS.build(name).has_shift])
def test_signal_stays_of_order_one_without_a_normalization(model: str, norm: str) -> None:
    network = build_model(model, norm, mean=(0.5,), std=(0.29,)).eval()
    with torch.no_grad():
        deviation = network(random_images(8, 3, 32)).std().item()
    assert 1e-3 < deviation < 10


def test_weights_depend_on_the_seed_alone(model: str) -> None:
    state = torch.get_rng_state()
    first = build_model(model, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    again = build_model(model, seed=3).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("entry", list(MODELS), ids=lambda entry: entry.name)
def test_entry_is_described(entry: Entry) -> None:
    assert entry.summary
    assert entry.reference


def test_standardization_is_the_first_layer() -> None:
    network = build_model("simple_cnn", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    assert isinstance(network, Classifier)
    assert isinstance(network.get_submodule("standardize"), Standardize)
    names = set(network.state_dict())
    assert {"standardize.mean", "standardize.std"} < names
    assert {name.partition(".")[0] for name in names} == {"standardize", "network"}
