import subprocess
import sys
from collections import namedtuple

import pytest

from rstar2 import doctor
from rstar2.doctor import Finding, examine

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in examine()}


def test_the_whole_machine_is_examined(findings):
    expected = {"python", "cores", "memory", "disk", "torch", "gpu", "datasets", "vllm", "ray", "wandb"}
    assert expected <= findings.keys()
    assert {
        "tensorboard",
        "user namespaces",
        "tmpfs mounts",
        "seccomp",
        "landlock",
        "cgroups",
    } <= findings.keys()


def test_every_shortcoming_says_what_was_found_and_what_to_do(findings):
    assert all(f.found for f in findings.values())
    assert all(f.remedy for f in findings.values() if not f.ok)


def test_this_interpreter_can_run_what_it_runs(findings):
    assert findings["python"].ok
    assert findings["torch"].ok


def test_only_the_basics_are_required(findings):
    assert {name for name, f in findings.items() if f.required} == {"python", "memory", "disk", "torch"}


def test_a_full_disk_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Usage(100, 99, 2**30))
    (disk,) = doctor._disk(tmp_path)
    assert not disk.ok
    assert disk.found == f"1.0 GiB free in {tmp_path}"


def test_a_missing_torch_is_a_finding_and_not_a_crash(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (torch,) = doctor._torch()
    assert not torch.ok
    assert torch.required


def test_a_wall_that_the_kernel_refuses_is_found_with_the_kernels_words(monkeypatch):
    refused = 'sys.exit("Operation not permitted")'
    monkeypatch.setattr(doctor, "_PROBES", {"user namespaces": refused, "tmpfs mounts": ""})
    namespaces, mounts, *_ = doctor._isolation()
    assert (namespaces.ok, namespaces.found) == (False, "Operation not permitted")
    assert (mounts.ok, mounts.found) == (True, "permitted")


def test_other_systems_have_no_walls(monkeypatch):
    monkeypatch.setattr(doctor.sys, "platform", "darwin")
    (finding,) = doctor._isolation()
    assert (finding.ok, finding.found) == (False, "darwin")


def test_importing_the_doctor_does_not_import_torch():
    code = "import sys, rstar2.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
