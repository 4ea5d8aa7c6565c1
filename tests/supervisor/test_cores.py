"""What ``--workers auto`` comes to."""

import os

import pytest

from seawall.supervisor.cores import cores, quota


def group(tmp_path, membership: str, **files: str):
    """Control groups in a directory: ``a/b/cpu.max`` is given as ``a__b__cpu_max``."""
    mine = tmp_path / "cgroup"
    mine.write_text(membership)
    for name, text in files.items():
        path = tmp_path / "fs" / name.replace("__", "/").replace("_max", ".max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return quota(tmp_path / "fs", mine)


def test_version_2(tmp_path):
    assert group(tmp_path, "0::/app\n", app__cpu_max="150000 100000\n") == 1.5


def test_the_least_of_all_that_are_above_it(tmp_path):
    files = {"cpu_max": "max 100000", "a__cpu_max": "50000 100000", "a__b__cpu_max": "max 100000"}
    assert group(tmp_path, "0::/a/b\n", **files) == 0.5


def test_in_a_container_the_path_may_be_the_hosts(tmp_path):
    assert group(tmp_path, "0::/docker/4f1a\n", cpu_max="300000 100000") == 3.0


@pytest.mark.parametrize("text", ["max 100000\n", "", "nonsense", "1 0", "100000", "-1 100000"])
def test_none_that_makes_sense_is_none(tmp_path, text):
    assert group(tmp_path, "0::/\n", cpu_max=text) is None


def test_version_1(tmp_path):
    base = tmp_path / "fs" / "cpu,cpuacct" / "app"
    base.mkdir(parents=True)
    (base / "cpu.cfs_quota_us").write_text("250000\n")
    (base / "cpu.cfs_period_us").write_text("100000\n")
    membership = "5:memory:/app\n4:cpu,cpuacct:/app\n0::/app\n"
    assert group(tmp_path, membership) == 2.5
    (base / "cpu.cfs_quota_us").write_text("-1\n")
    assert group(tmp_path, membership) is None


@pytest.mark.parametrize("membership", ["", "rubbish\n", "0::\n", "0::/../../etc\n", "::::\n"])
def test_what_cannot_be_read_limits_nothing(tmp_path, membership):
    assert group(tmp_path, membership) is None
    assert quota(tmp_path, tmp_path / "missing") is None


@pytest.mark.parametrize(("limit", "expected"), [(None, 4), (1.5, 2), (0.2, 1), (9.0, 4), (3.0, 3)])
def test_half_a_core_is_used_as_well(monkeypatch, limit, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr("seawall.supervisor.cores.quota", lambda: limit)
    assert cores() == expected
