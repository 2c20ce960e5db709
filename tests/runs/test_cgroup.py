"""The memory that control groups leave, by files as the kernel writes them."""

from __future__ import annotations

import psutil
import pytest
import torch

from tsdiag.models import Shapes, complete
from tsdiag.runs import memory
from tsdiag.runs.cgroup import left_bytes
from tsdiag.runs.memory import available_bytes
from tsdiag.search.limits import refuse_oversized

MIB, GIB = 2**20, 2**30
UNLIMITED_1 = 2**63 - 4096  # what version 1 says where there is no limit
CPU = torch.device("cpu")
SHAPES = Shapes(12, 10, 2, 2)
NAMES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


@pytest.fixture
def machine(tmp_path):
    """Write groups of a version, with limit, usage and idle cache, and the process's own files."""

    def write(version, own, groups, root="/", more=("",)):
        process, mount = tmp_path / "self", tmp_path / "mounted"
        process.mkdir()
        line = f"0::{own}" if version == 2 else f"4:memory:{own}"
        (process / "cgroup").write_text("\n".join([f"9:name=systemd:{own}", line, *more]).strip())
        kind = "cgroup2 cgroup2 rw" if version == 2 else "cgroup cgroup rw,memory"
        (process / "mountinfo").write_text(
            "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
            f"31 22 0:28 {root} {tmp_path}/other rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
            f"32 22 0:29 {root} {mount} rw,nosuid shared:9 master:2 - {kind}\n"
        )
        for group, (limit, usage, idle) in groups.items():
            folder = mount / group
            folder.mkdir(parents=True, exist_ok=True)
            names = NAMES[version]
            for name, value in zip(names, (limit, usage), strict=False):
                if value is not None:
                    (folder / name).write_text(f"{value}\n")
            (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {idle}\nunevictable 0\n")
        return process

    return write


def test_a_container_of_version_2(machine):
    process = machine(2, "/", {"": (4 * GIB, GIB, 0)})
    assert left_bytes(process) == 3 * GIB


def test_a_container_of_version_1_that_sees_the_host_s_path(machine):
    process = machine(1, "/docker/0af3", {"": (4 * GIB, GIB, 0)}, root="/docker/0af3")
    assert left_bytes(process) == 3 * GIB


def test_a_container_whose_path_leads_to_nothing_that_is_mounted(machine):
    process = machine(1, "/kubepods/pod7/0af3", {"": (4 * GIB, GIB, 0)}, root="/elsewhere")
    assert left_bytes(process) == 3 * GIB


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_of_nested_groups_counts(machine, version):
    unlimited = "max" if version == 2 else UNLIMITED_1
    groups = {
        "": (None, None, 0),  # the machine's own group has no limit
        "slurm": (unlimited, 40 * GIB, 0),
        "slurm/job_9": (8 * GIB, 5 * GIB, 0),
        "slurm/job_9/step_0": (6 * GIB, 2 * GIB, 0),
        "slurm/job_9/step_0/task_1": (unlimited, GIB, 0),
    }
    assert left_bytes(machine(version, "/slurm/job_9/step_0/task_1", groups)) == 3 * GIB


@pytest.mark.parametrize("version", [1, 2])
def test_idle_cache_is_free(machine, version):
    process = machine(version, "/a", {"a": (4 * GIB, 4 * GIB - MIB, 2 * GIB)})
    assert left_bytes(process) == 2 * GIB + MIB


def test_nothing_is_left_of_a_limit_that_was_lowered(machine):
    assert left_bytes(machine(2, "/a", {"a": (GIB, 2 * GIB, 0)})) == 0


def test_no_limit(machine, tmp_path):
    assert left_bytes(machine(2, "/a", {"a": ("max", GIB, 0), "": (None, None, 0)})) is None
    assert left_bytes(tmp_path / "no such process") is None


def test_version_1_counts_where_version_2_is_mounted_without_memory(machine):
    process = machine(1, "/a", {"a": (4 * GIB, GIB, 0)}, more=("0::/",))
    with (process / "mountinfo").open("a") as file:
        file.write(f"33 22 0:30 / {process}/unified rw shared:9 - cgroup2 cgroup2 rw\n")
    assert left_bytes(process) == 3 * GIB


def test_a_group_without_statistics_still_has_its_limit(machine, tmp_path):
    process = machine(2, "/", {"": (4 * GIB, GIB, 0)})
    (tmp_path / "mounted" / "memory.stat").unlink()
    assert left_bytes(process) == 3 * GIB


def test_this_process_can_be_asked(monkeypatch):
    assert left_bytes() is None or left_bytes() >= 0
    monkeypatch.setattr(memory, "left_bytes", lambda: None)
    assert 0 < available_bytes(CPU) < psutil.virtual_memory().total


def test_a_worker_in_a_container_refuses_what_the_machine_would_hold(machine, monkeypatch, config):
    free = psutil.virtual_memory()._replace(available=GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    process = machine(2, "/", {"": (64 * MIB, 14 * MIB, 0)})
    large = complete(config.edits({"model.d_model": 512, "model.ff_dim": 5000}))  # of 100 MiB
    monkeypatch.setattr(memory, "left_bytes", lambda: None)
    assert refuse_oversized(large, SHAPES, CPU, sharers=1) is None
    monkeypatch.setattr(memory, "left_bytes", lambda: left_bytes(process))
    assert available_bytes(CPU, sharers=2) == int(50 * MIB * 0.9) // 2
    assert refuse_oversized(large, SHAPES, CPU, sharers=1).constraints["memory"] > 1
    # Where the machine has less than the container may take, that counts.
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free._replace(available=MIB))
    assert available_bytes(CPU) == int(MIB * 0.9)
