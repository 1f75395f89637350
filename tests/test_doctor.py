import subprocess
import sys
from collections import namedtuple

import pytest

from rstar2 import doctor
from rstar2.doctor import Finding, examine
from rstar2.sandbox.host import Feature

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in examine()}


def test_the_whole_machine_is_examined(findings):
    expected = {"python", "cores", "memory", "disk", "torch", "gpu", "datasets", "vllm", "ray", "wandb"}
    assert expected <= findings.keys()
    assert {"tensorboard", "sandbox namespaces", "sandbox seccomp", "sandbox huge pages"} <= findings.keys()


def test_every_shortcoming_says_what_was_found_and_what_to_do(findings):
    assert all(f.found for f in findings.values())
    assert all(f.remedy for f in findings.values() if not f.ok)


def test_this_interpreter_can_run_what_it_runs(findings):
    assert findings["python"].ok
    assert findings["torch"].ok


def test_only_the_basics_are_required(findings):
    basics = {"python", "memory", "disk", "torch"}
    walls = {"sandbox namespaces", "sandbox file system", "sandbox seccomp"}
    assert {name for name, f in findings.items() if f.required} == basics | walls


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


@pytest.mark.parametrize("num_leftovers", [0, 4])
def test_what_the_sandbox_lacks_or_left_behind_is_found(monkeypatch, num_leftovers):
    lack = Feature(name="seccomp", is_required=True, lack="OSError: refused", remedy="allow it")
    works = Feature(name="huge pages", is_required=False, lack="", remedy="allow them")
    monkeypatch.setattr(doctor, "probe_host", lambda: (lack, works))
    # Of this host there may be some: other tests kill their pools.
    monkeypatch.setattr(doctor.cgroup, "num_abandoned", lambda: num_leftovers)
    left = Finding(
        name="sandbox leftovers",
        ok=True,
        found="4 control groups of pools that were killed; the next pool removes them",
        required=False,
    )
    assert list(doctor._sandbox()) == [
        Finding(name="sandbox seccomp", ok=False, found="OSError: refused", remedy="allow it"),
        Finding(name="sandbox huge pages", ok=True, found="works", remedy="allow them", required=False),
        *([left] if num_leftovers else []),
    ]


def test_other_systems_cannot_seal(monkeypatch):
    monkeypatch.setattr(doctor.sys, "platform", "darwin")
    (finding,) = doctor._sandbox()
    assert (finding.ok, finding.found, finding.required) == (False, "darwin", True)


def test_importing_the_doctor_does_not_import_torch():
    code = "import sys, rstar2.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
