import psutil
import pytest

from rstar2.sandbox.bench.load import Record
from rstar2.sandbox.bench.mix import Verdict
from rstar2.sandbox.bench.watch import Watch


@pytest.mark.parametrize(("ticks_s", "share"), [(0.0, 0.0), (0.03, 0.75)])
def test_cores_are_busy_for_the_share_of_the_ticks_that_passed(monkeypatch, ticks_s, share):
    begin = psutil.cpu_times()
    monkeypatch.setattr(psutil, "cpu_times", lambda: begin)
    watch = Watch(1, None)
    later = begin._replace(user=begin.user + ticks_s, idle=begin.idle + ticks_s / 3)
    monkeypatch.setattr(psutil, "cpu_times", lambda: later)
    watch.record(Record("trivial", 0.001, Verdict.RIGHT))
    assert watch.busy_share == pytest.approx(share)
