"""Lipschitz constants of activation functions: the largest slope of each (softmax: the norm of its derivative)."""

import math

# Where the maximum isn't in closed form the number is the true one, rounded up in the last digit given.
SLOPES: dict[str, float] = {
    "abs": 1.0,
    "celu": 1.0,
    "clamp": 1.0,
    "elu": 1.0,
    "gelu": 0.5 * (1 + math.erf(1)) + math.exp(-1) / math.sqrt(math.pi),  # at x = sqrt(2): 1.12891
    "hardshrink": math.inf,
    "hardsigmoid": 1 / 6 * (1 + 1e-6),  # PyTorch rounds 1/6 to single precision
    "hardswish": 1.5,
    "hardtanh": 1.0,
    "leaky_relu": 1.0,
    "logsigmoid": 1.0,
    "mish": 1.08850,
    "neg": 1.0,
    "relu": 1.0,
    "relu6": 1.0,
    "selu": 1.0507009873554805 * 1.6732632423543772,  # scale * alpha, at 0 from below
    "sigmoid": 0.25,
    "silu": 1.09984,
    "softmax": 1.0,
    "softmin": 1.0,
    "softplus": 1.0,
    "softshrink": 1.0,
    "softsign": 1.0,
    "tanh": 1.0,
    "tanhshrink": 1.0,
}
GELU_TANH_SLOPE = 1.12901
# The smallest slope; 0 for those not listed. Rounded down where it isn't in closed form.
LOWEST_SLOPES: dict[str, float] = {
    "abs": -1.0,
    "gelu": 1 - SLOPES["gelu"],  # its derivatives at x and -x add up to 1, as do those of silu
    "hardswish": -0.5,
    "mish": -0.11253,
    "neg": -1.0,
    "silu": 1 - SLOPES["silu"],
}
_NOT_ELEMENTWISE = {"softmax", "softmin"}


def activation_slope(name: str, *, parameter: float | None = None, approximate: str = "none") -> float | None:
    """sup |phi'| of the function called `name` in PyTorch (in lower case, without underscores at its end).

    Args:
        name: such as `relu` or `leaky_relu`.
        parameter: `negative_slope` of a leaky ReLU, `alpha` of an ELU, where given; CELU has slope 1 for each alpha.
        approximate: of GELU.

    Returns:
        The slope; None for a function that isn't in the table.
    """
    if name == "gelu" and approximate == "tanh":
        return GELU_TANH_SLOPE
    if name in ("leaky_relu", "elu") and parameter is not None:
        return max(1.0, abs(parameter))
    return SLOPES.get(name)


def slope_range(name: str, *, parameter: float | None = None, approximate: str = "none") -> tuple[float, float] | None:
    """The smallest and the largest slope of an elementwise activation; arguments as in `activation_slope`.

    None for a function that isn't in the table, that isn't elementwise, or that jumps.
    """
    largest = activation_slope(name, parameter=parameter, approximate=approximate)
    if largest is None or math.isinf(largest) or name in _NOT_ELEMENTWISE:
        return None
    if name == "neg":
        return -1.0, -1.0
    if name == "leaky_relu":
        slope = 0.01 if parameter is None else parameter
        return min(slope, 1.0), max(slope, 1.0)
    if name == "elu" and parameter is not None:
        return min(parameter, 0.0), largest
    if name == "gelu" and approximate == "tanh":
        return 1 - largest, largest
    return LOWEST_SLOPES.get(name, 0.0), largest
