from pathlib import Path

import pytest

from rstar2.assemble.channel import channel_here, channel_on_cluster, refuse_broadcast_within_a_process
from rstar2.config import RunConfig, parse_config
from rstar2.errors import ConfigError
from rstar2.weights import BroadcastChannel, FolderChannel, MemoryChannel

BROADCAST = {"engine": {"kind": "vllm", "weights": "broadcast"}, "model": {"base": "some/model"}}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({}, MemoryChannel),
        ({"learner": {"num_ranks": 2}}, FolderChannel),
        (BROADCAST, BroadcastChannel),
        (BROADCAST | {"learner": {"num_ranks": 2}}, BroadcastChannel),
    ],
)
def test_weights_go_as_the_config_says(data: dict[str, object], kind: type, tmp_path: Path) -> None:
    with channel_here(parse_config(data), tmp_path) as channel:
        assert isinstance(channel, kind)


def test_on_a_cluster_they_go_through_the_folder_that_all_see(tmp_path: Path) -> None:
    named = parse_config({"cluster": {"weights_folder": str(tmp_path / "shared")}})
    for config, folder in ((RunConfig(), tmp_path / "weights"), (named, tmp_path / "shared")):
        with channel_on_cluster(config, tmp_path, "127.0.0.1") as channel:
            assert isinstance(channel, FolderChannel)
            assert channel.folder == folder
        assert not folder.exists(), "nothing is left of a run that has ended well"


def test_on_a_cluster_a_broadcast_is_open_where_the_others_reach_it(tmp_path: Path) -> None:
    with channel_on_cluster(parse_config(BROADCAST), tmp_path, "127.0.0.1") as channel:
        assert isinstance(channel, BroadcastChannel)
        assert channel.host == "127.0.0.1"


def test_engines_of_this_process_take_no_broadcast() -> None:
    config = parse_config({"engine": {"weights": "broadcast"}})
    with pytest.raises(ConfigError, match=r'set engine\.weights = "folder"'):
        refuse_broadcast_within_a_process(config, on_cluster=False)
    refuse_broadcast_within_a_process(config, on_cluster=True)
    refuse_broadcast_within_a_process(parse_config(BROADCAST), on_cluster=False)
