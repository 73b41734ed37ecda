"""The memory that a process may still take: machine, control groups of both versions, limits, jobs."""

from __future__ import annotations

import pytest

from fastflow import memory

GB = 10**9


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system whose files say what `write` was told: 100 GB available, no limits."""
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    monkeypatch.setattr(memory, "PROC", proc)
    monkeypatch.setattr(memory, "CGROUP", cgroup)
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    write("proc/meminfo", f"MemTotal: 1 kB\nMemAvailable:   {100 * GB // 1024} kB\n")
    return write


def test_the_machine(system):
    assert memory.available_memory() == pytest.approx(100 * GB, rel=1e-6)


def test_a_nested_group_of_version_2(system):
    """The tightest of the group of the process and all above it counts, whose root says nothing."""
    system("proc/self/cgroup", "0::/system.slice/job_7/step_0\n")
    system("cgroup/system.slice/job_7/memory.max", f"{8 * GB}\n")
    system("cgroup/system.slice/job_7/memory.current", f"{3 * GB}\n")
    system("cgroup/system.slice/job_7/memory.stat", f"anon 5\ninactive_file {GB}\n")
    system("cgroup/system.slice/job_7/step_0/memory.max", "max\n")
    system("cgroup/system.slice/job_7/step_0/memory.current", f"{2 * GB}\n")
    assert memory.available_memory() == 6 * GB


def test_a_group_of_version_1(system):
    system("proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/slurm/uid_1/job_2\n0::/\n")
    system("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    system("cgroup/memory/memory.usage_in_bytes", f"{50 * GB}\n")
    system("cgroup/memory/slurm/uid_1/job_2/memory.limit_in_bytes", f"{4 * GB}\n")
    system("cgroup/memory/slurm/uid_1/job_2/memory.usage_in_bytes", f"{GB}\n")
    assert memory.available_memory() == 3 * GB


def test_a_group_that_is_full(system):
    system("proc/self/cgroup", "0::/\n")
    system("cgroup/memory.max", f"{GB}\n")
    system("cgroup/memory.current", f"{2 * GB}\n")
    assert memory.available_memory() == 0


def test_a_job_without_groups(system, monkeypatch):
    system("proc/self/status", "Name: python\nVmRSS:     1048576 kB\n")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "2048")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "4")
    assert memory.available_memory() == 7 * 2**30


def test_nothing_is_asked_for_up_to_the_last_byte(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10**9)
    memory.require_memory(900 * 10**6, "this", "take less")
    with pytest.raises(
        MemoryError, match=r"this would take 901 MB, but this process may take only 1 GB more; take less"
    ):
        memory.require_memory(901 * 10**6, "this", "take less")
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    memory.require_memory(10**30, "this", "take less")


def test_small_work_reads_no_file_of_the_system(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: pytest.fail("it was asked"))
    memory.require_memory(2**20, "this", "take less")
