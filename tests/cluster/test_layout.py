import pytest

from rstar2.cluster.layout import Block, Bundle, blocks_of
from rstar2.config import RunConfig, parse_config
from rstar2.errors import ConfigError


def config(**sections: dict[str, object]) -> RunConfig:
    return parse_config({"run": {"reproducible": False}} | sections)


def test_a_run_on_cpus_books_cores_alone_and_nothing_for_what_runs_elsewhere() -> None:
    wanted = config(engine={"num_engines": 2}, cluster={"cpus_per_engine": 3.0})
    assert blocks_of(wanted) == (Block(name="engines", strategy="PACK", bundles=(Bundle(cpus=3.0),) * 2),)


def test_learner_and_engines_book_accelerators_of_their_own_and_sandbox_nodes_none() -> None:
    wanted = config(
        engine={"num_engines": 3},
        learner={"num_ranks": 2},
        cluster={
            "accelerator": "h100",
            "num_accelerators": 8,
            "accelerators_per_engine": 2,
            "colocated": False,
            "sandbox_nodes": 4,
            "cpus_per_sandbox_node": 16.0,
        },
    )
    learner, engines, sandbox = blocks_of(wanted)
    assert (learner.name, learner.strategy, learner.accelerators) == ("learner", "PACK", 2)
    assert (engines.name, engines.strategy, engines.accelerators) == ("engines", "PACK", 6)
    assert (sandbox.name, sandbox.strategy, sandbox.accelerators) == ("sandbox", "SPREAD", 0)
    assert sandbox.cpus == 64.0


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"run": {"reproducible": True}}, "run.reproducible"),
        ({"cluster": {"accelerator": "h100"}, "learner": {"num_ranks": 1}}, "cluster.colocated"),
    ],
)
def test_what_a_cluster_cannot_give_is_refused_by_the_name_of_its_key(
    sections: dict[str, dict[str, object]], key: str
) -> None:
    with pytest.raises(ConfigError, match=key):
        blocks_of(config(**sections))


def test_programs_run_in_one_place() -> None:
    with pytest.raises(ConfigError, match="sandbox_nodes"):
        config(sandbox={"urls": ["http://10.0.0.1:8088"]}, cluster={"sandbox_nodes": 2})
