"""Work that several metrics of a network share: done once while that network is being evaluated.

    with sharing(work):                       # the bench, around each metric of one network
        once(("layers", shape), compute)      # a metric: computed by the first that asks, remembered for the others

Outside of such a block nothing is remembered, so that a network may change between two calls.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from convbench.errors import MetricNotDefinedError

T = TypeVar("T")
OnStep = Callable[[int, int, str], None]  # (steps done, steps, name of the next one)


@dataclass
class SharedWork:
    """What was computed for one network so far, by key; a `MetricNotDefinedError` is remembered too."""

    results: dict[Hashable, object] = field(default_factory=dict)
    on_step: OnStep | None = None


_CURRENT: ContextVar[SharedWork | None] = ContextVar("shared work", default=None)


@contextmanager
def sharing(work: SharedWork) -> Iterator[None]:
    """Inside the block `once` remembers in `work`, which belongs to one network and its images."""
    token = _CURRENT.set(work)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def once(key: Hashable, compute: Callable[[OnStep | None], T]) -> T:
    """What `compute` returns, from memory where an equal `key` was asked before in the same `sharing` block.

    Args:
        key: whatever the result depends on beside the network.
        compute: takes the function that wants to know how far it is, or None.
    """
    work = _CURRENT.get()
    if work is None:
        return compute(None)
    if key not in work.results:
        try:
            work.results[key] = compute(work.on_step)
        except MetricNotDefinedError as error:
            work.results[key] = error
    result = work.results[key]
    if isinstance(result, MetricNotDefinedError):
        raise MetricNotDefinedError(str(result))
    return result  # pyright: ignore[reportReturnType]  # of the type that `compute` with this key returned
