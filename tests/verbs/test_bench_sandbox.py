"""The benchmark as a person runs it, small."""

import json
from dataclasses import replace

import pytest

from rstar2.errors import InputError
from rstar2.sandbox.bench.subject import Subject, checked_apis
from rstar2.sandbox.bench.trial import Load
from rstar2.verbs.bench_sandbox import BenchPlan, bench, bench_overhead, loads

PLAN = BenchPlan(
    subject=Subject(num_workers=4),
    apis=("in-process",),
    loads=(Load(in_flight=4),),
    num_calls=12,
    mix="trivial",
    deadline_s=60.0,
)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"mix": "fortran"}, "there is no mix 'fortran'"),
        ({"loads": (Load(in_flight=45_000),), "apis": ("native",)}, "take an API with batches"),
    ],
)
def test_a_slip_is_one_sentence(wrong, complaint):
    with pytest.raises(InputError, match=complaint):
        bench(replace(PLAN, **wrong), out=None)


@pytest.mark.parametrize("verb", [bench, bench_overhead])
def test_a_folder_in_the_place_of_the_figures_is_refused_before_anything_is_measured(verb, tmp_path):
    with pytest.raises(InputError, match="give --json the name of a file"):
        verb(PLAN, out=tmp_path)


def test_apis_are_names_with_commas():
    assert checked_apis("native,in-process") == ["native", "in-process"]
    with pytest.raises(InputError, match="there is no API 'smtp'"):
        checked_apis("native,smtp")


def test_loads_are_numbers_with_commas_or_one_rate():
    assert loads("32, 256", rate_per_s=None) == [Load(in_flight=32), Load(in_flight=256)]
    assert loads("32", rate_per_s=38.0) == [Load(rate_per_s=38.0)]


@pytest.mark.parametrize("text", ["many", "0", "-1", "32,", "1.5"])
def test_a_load_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="numbers from 1 on with commas"):
        loads(text, rate_per_s=None)


@pytest.mark.integration
def test_every_api_of_a_running_service_answers_right_beside_a_second_client(tmp_path, capsys):
    apis = ("native", "native-batch", "code-judge", "code-judge-batch", "fusion", "client")
    plan = replace(PLAN, apis=apis, second_client_per_s=20.0, num_baseline_calls=2, with_memory=True)
    assert bench(plan, out=tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [trial["api"] for trial in figures] == [*apis, "fresh interpreter"]
    for trial in figures[:-1]:
        assert trial["rows"][0]["num_calls"] == 12
        assert trial["second"]
        assert trial["cpu_per_call_s"] > 0
        assert trial["peak_memory_bytes"] > 10 << 20
    assert "times as many calls/s as with a fresh interpreter per call" in capsys.readouterr().out


@pytest.mark.integration
def test_overhead_is_told_by_kind_beside_the_floor(tmp_path):
    bench_overhead(replace(PLAN, apis=("in-process", "native")), out=tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [cost["kind"] for cost in figures] == ["trivial", "numpy", "sympy", "error"] * 2
    for cost in figures:
        assert cost["fork_floor_s"] > 0  # so few calls cost less than the clock of CPU time can tell
        assert cost["calls_per_s"] > 0
    own_s = {cost["kind"]: cost["own_s"] for cost in figures}
    assert own_s["trivial"] < own_s["sympy"]
