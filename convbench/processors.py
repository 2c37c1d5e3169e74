"""How many processors this process may use: fewer than the machine has, where a container or a batch system says so.

torch starts a thread for each processor of the machine. It doesn't see the quota of a control group, which is how
containers, and so most CI runners, get a few processors of a large host: 64 threads on 2 processors' worth of time are
slower than 2.
"""

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

# What a user sets who has decided; the first two are torch's own, in this order.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_FEW = 4  # processors; on many, waking the threads of each short loop costs more than they lose to other work
_SPINS = "10000"  # of 300,000 by default


def available_cpus(root: Path = Path("/")) -> int:
    """Processors that this process may use at once, at least 1: of its affinity, within the quota of its control group.

    A quota of 2.5 processors counts as 2: a thread more would wait for the next period in the middle of every loop.

    Args:
        root: where /proc and /sys are.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(int(quota) for quota in _quotas(root))]))


def limit_threads(environment: MutableMapping[str, str] = os.environ, root: Path = Path("/")) -> None:
    """Let torch start no more threads than there are processors for it; a user who set a number keeps it.

    To be called before torch is imported: it reads these variables once.
    """
    available = available_cpus(root)
    if available < (os.cpu_count() or 1) and not any(environment.get(name) for name in _THREADS):
        environment[_THREADS[0]] = str(available)


def sleep_early(environment: MutableMapping[str, str] = os.environ, root: Path = Path("/")) -> None:
    """Let OpenMP's threads sleep sooner when they wait for one another, where processors are few.

    By default they spin for milliseconds. Where other work takes one of two processors, both then wait in every loop:
    resnet8 was trained at 24 images/s instead of 110, and at 117 with one thread (medians of 28 interleaved runs, two
    processors with two to four other processes each). With both processors free it makes no difference that could be
    seen; 1,000 spins give 230 images/s on the busy ones, and cost a quarter of the speed on the free ones. A user who
    set either variable keeps it. To be called before torch is imported.
    """
    if available_cpus(root) <= _FEW and not any(environment.get(name) for name in _WAITING):
        environment[_WAITING[0]] = _SPINS


def _quotas(root: Path) -> Iterator[float]:
    """Processors that each control group of this process, and each one above it, may use; v2, and v1 where it is."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, read = root / "sys/fs/cgroup", _quota
        elif "cpu" in controllers.split(","):
            base, read = root / "sys/fs/cgroup/cpu", _quota_v1
        else:
            continue
        # In a container the path may be the host's, which isn't there; the root of what is mounted then is its own.
        folder = base / path.lstrip("/")
        for group in (folder, *folder.parents):
            if base in (group, *group.parents) and (quota := read(group)) is not None:
                yield quota


def _quota(group: Path) -> float | None:
    """Of version 2: "max 100000", or microseconds of each period."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(group: Path) -> float | None:
    """Of version 1: -1 is no limit."""
    try:
        quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
