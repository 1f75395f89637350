import asyncio

import pytest

from rstar2.doctor import Finding
from rstar2.errors import SandboxError
from rstar2.sandbox.probes.probe import Probe
from rstar2.verbs import check_machine

HARMLESS = Probe(kind="escape", name="nothing", programs=("left = 1", "print('held')"))
BREACH = Probe(kind="network", name="phone home", programs=("print('breached: home')",))


def test_a_breach_is_named_and_fails_the_machine():
    finding = asyncio.run(check_machine.trial([HARMLESS, BREACH]))
    assert (finding.ok, finding.required) == (False, True)
    assert "1 of 2 attacks refused; network: phone home" in finding.found


def test_a_sandbox_that_holds_says_its_level():
    finding = asyncio.run(check_machine.trial([HARMLESS]))
    assert finding.ok
    assert finding.found.startswith("level '")


def test_a_sandbox_that_cannot_start_is_a_finding(monkeypatch):
    def no_pool(**options):
        raise SandboxError("no namespaces here; allow them")

    monkeypatch.setattr(check_machine, "WorkerPool", no_pool)
    finding = asyncio.run(check_machine.trial([HARMLESS]))
    assert (finding.ok, finding.found) == (False, "no namespaces here; allow them")


@pytest.mark.parametrize(
    ("ok", "required", "mark", "is_fit"),
    [(True, True, "ok", True), (False, False, "lack", True), (False, True, "NEEDED", False)],
)
def test_only_a_lack_of_what_is_required_fails(monkeypatch, capsys, ok, required, mark, is_fit):
    finding = Finding(name="memory", ok=ok, found="1 GiB", remedy="free some", required=required)

    async def nothing_found():
        return Finding(name="sandbox", ok=True, found="level 'full'")

    monkeypatch.setattr(check_machine, "examine", lambda: (finding,))
    monkeypatch.setattr(check_machine, "trial", nothing_found)
    assert check_machine.check_machine() is is_fit
    text = capsys.readouterr().out
    assert f"{mark:>6}  memory: 1 GiB" in text
    assert ("free some" in text) is not ok
