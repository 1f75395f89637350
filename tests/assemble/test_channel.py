from pathlib import Path

import pytest
import torch

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


def test_on_a_cluster_they_go_through_a_folder_below_that_of_the_run(tmp_path: Path) -> None:
    with channel_on_cluster(RunConfig(), tmp_path, "127.0.0.1") as channel:
        assert isinstance(channel, FolderChannel)
        assert channel.folder == tmp_path / "weights"
    assert not channel.folder.exists(), "nothing is left of a run that has ended well"


def test_runs_that_share_a_weights_folder_never_see_each_other_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = parse_config({"cluster": {"weights_folder": "shared"}})  # engines stand elsewhere: made absolute
    with channel_on_cluster(config, tmp_path / "a" / "run", "127.0.0.1") as a:
        a.put(3, {"w": torch.zeros(2)})
        with channel_on_cluster(config, tmp_path / "b" / "run", "127.0.0.1") as b:
            b.put(3, {"w": torch.ones(2)})
            assert isinstance(b, FolderChannel)
            assert b.folder.parent == tmp_path / "shared"
        assert torch.equal(a.get(3)["w"], torch.zeros(2)), "the end of one is nothing to the other"
    assert [*(tmp_path / "shared").iterdir()] == []


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
