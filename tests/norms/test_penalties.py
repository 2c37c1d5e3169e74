"""Penalties on the loss: their values against matrices written out, their gradients, and how models carry them."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from convbench.errors import ConfigError
from convbench.models.loading import build_model
from convbench.norms import NORMS, Norm, penalties
from convbench.norms.ocnn import convolutional_distance
from convbench.norms.orthogonal import KINDS, filter_distance

PENALIZED = [entry.name for entry in NORMS if entry.function().penalty is not None]


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def convolution(in_channels, out_channels):
    conv = nn.Conv2d(in_channels, out_channels, 3, bias=False, dtype=torch.float64)
    conv.weight.data = randn(out_channels, in_channels, 3, 3) / 4
    return conv


def orthonormal(rows, columns):
    """Orthonormal rows, or columns where those are fewer."""
    tall = torch.linalg.qr(randn(max(rows, columns), min(rows, columns)))[0]
    return tall if rows >= columns else tall.T


def dense(weight, stride=(1, 1), dilation=(1, 1), groups=1):
    """The convolution's matrix on a torus on which no kernel meets another twice, without its columns of zeros."""
    out_channels, per_group, kh, kw = weight.shape
    height, width = (s * (2 * d * (k - 1) // s + 1) for s, d, k in zip(stride, dilation, (kh, kw), strict=True))
    rows = []
    for m in range(out_channels):
        first = m // (out_channels // groups) * per_group
        for y, x in itertools.product(range(0, height, stride[0]), range(0, width, stride[1])):
            image = np.zeros((groups * per_group, height, width))
            for c, i, j in itertools.product(range(per_group), range(kh), range(kw)):
                image[first + c, (y + dilation[0] * i) % height, (x + dilation[1] * j) % width] += weight[m, c, i, j]
            rows.append(image.ravel())
    matrix = np.stack(rows)
    return matrix[:, np.abs(matrix).sum(axis=0) > 0], height // stride[0] * (width // stride[1])


def squared_distance(gram):
    return ((gram - np.eye(len(gram))) ** 2).sum()


def published(kernel):
    """The square of what the authors' code penalizes for a 3x3 kernel of stride 2: lags -1 and +1, identity at +1."""
    padded = np.pad(kernel, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = 0.0
    for dy, dx in itertools.product((-1, 1), repeat=2):
        overlap = np.einsum("mcij,ncij->mn", padded[:, :, 1 + dy : 4 + dy, 1 + dx : 4 + dx], kernel)
        total += ((overlap - (np.eye(len(kernel)) if dy == dx == 1 else 0)) ** 2).sum()
    return total


@pytest.mark.parametrize("channels", [(2, 3, 1), (5, 1, 1), (3, 3, 1), (4, 2, 2), (3, 1, 3), (6, 1, 2)])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [
        ((1, 1), (1, 1), (1, 1)),
        ((1, 1), (2, 2), (1, 1)),
        ((3, 3), (1, 1), (1, 1)),
        ((3, 3), (2, 2), (1, 1)),
        ((2, 3), (1, 2), (1, 1)),
        ((3, 2), (3, 4), (1, 1)),
        ((3, 3), (1, 1), (2, 2)),
        ((3, 3), (2, 2), (2, 3)),
        ((2, 3), (6, 4), (4, 6)),
    ],
)
def test_ocnn_is_the_distance_of_the_convolutions_matrix_per_position(channels, kernel, stride, dilation):
    out_channels, per_group, groups = channels
    weight = randn(out_channels, per_group, *kernel)
    matrix, positions = dense(weight.numpy(), stride, dilation, groups)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    value = convolutional_distance(weight, stride, dilation, groups)
    assert value.item() == pytest.approx(squared_distance(gram) / positions, rel=1e-10)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_ocnn_is_the_literal_sum_over_lags(stride):
    weight = randn(2, 3, 3, 3)
    kernel, total = weight.numpy(), 0.0
    for dy, dx in itertools.product([lag for lag in range(-2, 3) if lag % stride == 0], repeat=2):
        for m, n in itertools.product(range(2), repeat=2):
            overlap = 0.0
            for c, i, j in itertools.product(range(3), repeat=3):
                if 0 <= i + dy < 3 and 0 <= j + dx < 3:
                    overlap += kernel[m, c, i + dy, j + dx] * kernel[n, c, i, j]
            total += (overlap - (m == n and dy == dx == 0)) ** 2
    assert convolutional_distance(weight, (stride, stride)).item() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (4, 4), (60, 20)])
def test_an_orthonormal_1x1_kernel_has_no_penalty(rows, columns):
    weight = orthonormal(rows, columns)[:, :, None, None]
    for stride in (1, 2):
        assert abs(convolutional_distance(weight, (stride, stride))) < 1e-20
    for kind in KINDS:
        constant = abs(rows - columns) if kind == "dso" else 0
        assert filter_distance(weight, kind=kind).item() == pytest.approx(constant, abs=1e-12)
    assert convolutional_distance(weight * 1.1) > 1e-2


def test_patches_that_do_not_overlap_are_compared_with_themselves_only():
    weight = orthonormal(5, 12).reshape(5, 3, 2, 2)
    assert convolutional_distance(weight, (2, 2)) < 1e-20
    assert convolutional_distance(weight, (1, 1)) > 0.1  # shifted by one pixel they do overlap


def test_orthonormal_filters_do_not_make_an_orthogonal_convolution():
    weight = orthonormal(4, 18).reshape(4, 2, 3, 3)
    assert filter_distance(weight) < 1e-20
    assert convolutional_distance(weight) > 0.1
    matrix, _ = dense(weight.numpy())
    assert abs(np.linalg.svd(matrix, compute_uv=False) - 1).max() > 0.1


def test_the_published_padding_of_1_misses_the_kernels_own_place_at_stride_2():
    isometry = np.zeros((4, 1, 3, 3))
    for m, (i, j) in enumerate(itertools.product(range(2), repeat=2)):
        isometry[m, 0, i, j] = 1
    matrix, _ = dense(isometry, (2, 2))
    assert squared_distance(matrix @ matrix.T) == 0
    assert convolutional_distance(torch.from_numpy(isometry), (2, 2)) == 0
    assert published(isometry) >= 4
    centred = np.zeros((1, 1, 3, 3))
    centred[..., 1, 1] = 1
    assert published(centred) == published(10 * centred) == 1  # whatever its length


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 4, 2, 2), (9, 2, 1, 3), (4, 1, 2, 2)])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("scale", [1.0, 0.05])  # singular values above 1, and all of them far below
def test_filter_distances_are_functions_of_the_singular_values(kind, shape, groups, scale):
    weight = scale * randn(groups * shape[0], *shape[1:])
    expected = 0.0
    for matrix in weight.reshape(groups, shape[0], -1).numpy():
        singular = np.linalg.svd(matrix, compute_uv=False)
        if kind == "srip":
            expected += abs(singular**2 - 1).max()
        elif kind == "so":
            expected += ((singular**2 - 1) ** 2).sum()
        else:
            expected += squared_distance(matrix @ matrix.T) + squared_distance(matrix.T @ matrix)
    assert filter_distance(weight, groups, kind).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    "distance",
    [
        lambda w: convolutional_distance(w),
        lambda w: convolutional_distance(w, (2, 2)),
        lambda w: convolutional_distance(w, (2, 1), (1, 2), 2),
        lambda w: convolutional_distance(w.transpose(0, 1)),
        *(lambda w, kind=kind: filter_distance(w, 2, kind) for kind in KINDS),
    ],
)
def test_the_gradient_is_right_and_a_step_against_it_lowers_the_penalty(distance):
    weight = randn(4, 2, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(distance, weight)
    before = distance(weight)
    (gradient,) = torch.autograd.grad(before, weight)
    assert distance(weight - 1e-4 * gradient) < before


def test_dso_has_twice_the_gradient_of_so():
    weight = randn(5, 2, 3, 3).requires_grad_()
    so, dso = (torch.autograd.grad(filter_distance(weight, kind=kind), weight)[0] for kind in ("so", "dso"))
    torch.testing.assert_close(dso, 2 * so)


@pytest.mark.parametrize(
    "distance", [convolutional_distance, *(lambda w, k=k: filter_distance(w, kind=k) for k in KINDS)]
)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_so(distance, bad):
    weight = randn(3, 2, 3, 3)
    weight[1, 1, 1, 1] = bad
    assert not distance(weight).isfinite()


def test_16_bit_weights_are_computed_in_float32():
    weight = randn(3, 2, 3, 3, dtype=torch.bfloat16)
    for distance in (convolutional_distance, filter_distance):
        assert distance(weight).dtype == torch.float32
        assert torch.equal(distance(weight), distance(weight.float()))


@pytest.mark.parametrize("norm", PENALIZED)
def test_descent_on_the_penalty_makes_singular_values_one(norm):
    unit = NORMS.build(f"{norm}:weight=0.05")(convolution(4, 3))
    (penalty,) = penalties(unit)
    optimizer = torch.optim.SGD([unit.conv.weight], 0.5, momentum=0.9)
    start = penalty().item()
    for _ in range(100):
        optimizer.zero_grad()
        penalty().backward()
        optimizer.step()
    assert penalty().item() < 1e-4 * start
    weight = unit.conv.weight.detach()
    matrix = dense(weight.numpy())[0] if norm == "ocnn" else weight.flatten(1).numpy()
    assert abs(np.linalg.svd(matrix, compute_uv=False) - 1).max() < 0.1


@pytest.mark.parametrize("norm", PENALIZED)
@pytest.mark.parametrize("model", ["resnet8", "densenet40:growth=1", "simple_cnn"])
def test_every_convolution_of_a_model_is_under_the_penalty(norm, model):
    network, plain = build_model(model, norm), build_model(model, "bn")
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(penalties(network)) == len(convolutions) > 0
    assert penalties(plain) == []
    assert list(network.state_dict()) == list(plain.state_dict())
    total = sum(penalty() for penalty in penalties(network))
    total.backward()
    assert all(conv.weight.grad.abs().max() > 0 for conv in convolutions)


@pytest.mark.parametrize("norm", PENALIZED)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_has_its_own_penalty(norm, duplicate):
    unit = NORMS.build(norm)(convolution(2, 3))
    twin = duplicate(unit)
    before = penalties(unit)[0]().item()
    assert penalties(twin)[0]().item() == before
    with torch.no_grad():
        twin.conv.weight.mul_(2)
    assert penalties(twin)[0]().item() > before == penalties(unit)[0]().item()


def test_a_norm_may_replace_the_convolution_and_penalize_what_it_put_there():
    norm = Norm(on_conv=nn.utils.parametrizations.weight_norm, penalty=lambda conv: conv.weight.square().sum())
    conv = norm.on_conv(nn.Conv2d(2, 3, 1))
    (penalty,) = penalties(conv)
    penalty().backward()
    assert conv.parametrizations.weight.original0.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        ("ocnn:weight=-1", "weight must be at least 0 and finite, got -1"),
        ("ocnn:weight=nan", "weight must be at least 0 and finite, got nan"),
        ("orthogonal:weight=inf", "weight must be at least 0 and finite, got inf"),
        ("orthogonal:kind=mc", "kind must be one of so, dso, srip, got 'mc'"),
    ],
)
def test_options_out_of_range_are_refused(norm, message):
    with pytest.raises(ConfigError, match=message):
        NORMS.build(norm)
