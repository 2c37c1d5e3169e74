"""Processors of a container: made-up control groups, and the command line in one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from convbench import processors
from convbench.processors import available_cpus, limit_threads, sleep_early

V1 = "4:memory:/job\n3:cpu,cpuacct:/docker/1\n0::/\n"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """64 processors, all of them ours."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "12800000 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "torn"}, 64),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),  # the group above
        ("0::/host/path\n", {"cpu.max": "400000 100000\n"}, 4),  # the path is the host's
        ("0::/../beside\n", {"cpu.max": "500000 100000\n"}, 5),
        (V1, {"cpu/docker/1/cpu.cfs_quota_us": "200000", "cpu/docker/1/cpu.cfs_period_us": "100000"}, 2),
        (V1, {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "50000"}, 3),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
    ],
)
def test_the_quota_of_a_control_group_counts(tmp_path, groups, files, expected):
    root = write(tmp_path, {"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{k}": v for k, v in files.items()})
    assert available_cpus(root) == expected


def test_without_control_groups_the_affinity_counts(tmp_path, monkeypatch):
    assert available_cpus(tmp_path) == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert available_cpus(tmp_path) == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS has none
    assert available_cpus(tmp_path) == 64


def test_torch_is_told_only_where_it_would_not_know_and_nobody_chose(tmp_path):
    root = write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"})
    for given, expected in (
        ({}, {"OMP_NUM_THREADS": "2"}),
        ({"OMP_NUM_THREADS": "7"}, {"OMP_NUM_THREADS": "7"}),
        ({"MKL_NUM_THREADS": "7"}, {"MKL_NUM_THREADS": "7"}),
    ):
        limit_threads(given, root)
        assert given == expected
    free: dict[str, str] = {}
    limit_threads(free, tmp_path / "elsewhere")
    assert free == {}


def test_threads_sleep_early_on_few_processors(tmp_path):
    root = write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"})
    for given in ({}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}):
        environment = dict(given)
        sleep_early(environment, root)
        assert environment == (given or {"GOMP_SPINCOUNT": "10000"})
    many: dict[str, str] = {}
    sleep_early(many, tmp_path / "elsewhere")
    assert many == {}


def test_the_command_line_is_limited_and_the_library_is_not():
    code = (
        "import os, sys\nos.cpu_count = lambda: 64\nos.sched_getaffinity = lambda _: {0, 1, 2}\n"
        "import convbench, convbench.sweep\nprint(os.environ.get('OMP_NUM_THREADS'))\n"
        "sys.argv = ['convbench', '--version']\nfrom convbench.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code, os.environ['OMP_NUM_THREADS'])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in processors._THREADS}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    first, _, last = done.stdout.splitlines()
    assert (first, last) == ("None", "0 3")
