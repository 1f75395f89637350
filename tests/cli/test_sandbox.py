import pytest
from typer.testing import CliRunner

from rstar2.cli import app


@pytest.mark.parametrize(
    "option", ["--rate=0", "--duration=0", "--second-client=0", "--deadline=0", "--baseline=-1", "--calls=0"]
)
def test_a_load_of_nothing_is_wrong_usage(option):
    done = CliRunner().invoke(app, ["sandbox", "bench", option])
    assert done.exit_code == 2
    assert option.partition("=")[0] in done.stderr


def test_a_rate_makes_one_call_at_least(monkeypatch):
    from rstar2.verbs import bench_sandbox

    plans = []
    monkeypatch.setattr(bench_sandbox, "bench", lambda plan, out: plans.append(plan) or True)
    done = CliRunner().invoke(app, ["sandbox", "bench", "--rate=0.5", "--duration=0.5"])
    assert (done.exit_code, plans[0].num_calls) == (0, 1)
