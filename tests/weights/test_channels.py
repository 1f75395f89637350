from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from rstar2.errors import CheckpointError
from rstar2.ports import WeightChannel
from rstar2.weights import FolderChannel, MemoryChannel, broadcasting, passing_through


@pytest.fixture(params=["memory", "folder", "broadcast"])
def channel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WeightChannel]:
    """Each keeps two versions."""
    if request.param == "broadcast":
        with broadcasting() as channel:
            yield channel
    elif request.param == "memory":
        yield MemoryChannel(keep=2)
    else:
        yield FolderChannel(tmp_path / "weights", keep=2)


def test_what_was_put_cannot_change_afterwards(channel: WeightChannel) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    channel.put(7, {"a": weight, "b": weight.T, "half": weight.bfloat16()})
    weight.zero_()
    got = channel.get(7)
    assert torch.equal(got["a"], torch.arange(6.0).reshape(2, 3))
    assert torch.equal(got["b"], torch.arange(6.0).reshape(2, 3).T)
    assert got["half"].dtype == torch.bfloat16


def test_only_the_latest_versions_are_kept(channel: WeightChannel) -> None:
    for version in (8, 9, 10):
        channel.put(version, {"a": torch.tensor([float(version)])})
    assert [channel.get(v)["a"].item() for v in (9, 10)] == [9.0, 10.0]
    with pytest.raises(CheckpointError, match="gone"):
        channel.get(8)


def test_a_version_can_be_published_again_after_a_resume(channel: WeightChannel) -> None:
    channel.put(3, {"a": torch.tensor([1.0])})
    channel.put(3, {"a": torch.tensor([2.0])})
    assert channel.get(3)["a"].item() == 2.0


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    channel = FolderChannel(tmp_path)
    channel.put(1, {"a": torch.zeros(5)})
    (path,) = tmp_path.glob("*/*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        channel.get(1)


def test_a_folder_is_removed_when_all_went_well_and_nothing_else_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "weights"

    def publish() -> None:
        with passing_through(folder) as channel:
            channel.put(1, {"a": torch.zeros(5)})
            if (folder / "fail").exists():
                raise CheckpointError("the disk is full")

    publish()
    assert not folder.exists()
    folder.mkdir()
    (folder / "fail").touch()
    (folder / ".version-00000003.partial").mkdir()  # of a run that was killed
    with pytest.raises(CheckpointError, match="full"):
        publish()
    assert FolderChannel(folder).checksum(1)
    (folder / "fail").rename(folder / "notes")
    publish()
    assert [path.name for path in folder.iterdir()] == ["notes"]


def test_a_half_written_version_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = FolderChannel(tmp_path)
    channel.put(1, {"a": torch.zeros(5)})

    def full_disk(*_: object) -> None:
        raise SafetensorError("no space left")

    monkeypatch.setattr("rstar2.weights.folder.save_file", full_disk)
    with pytest.raises(CheckpointError, match=r"no space left.*check space"):
        channel.put(2, {"a": torch.ones(5)})
    with pytest.raises(CheckpointError):
        channel.get(2)
    assert torch.equal(channel.get(1)["a"], torch.zeros(5))


def test_another_process_opens_the_folder_anew_and_knows_what_was_published(tmp_path: Path) -> None:
    written = FolderChannel(tmp_path / "weights")
    written.put(4, {"a": torch.tensor([1.0])})
    read = FolderChannel(written.folder)
    assert read.checksum(4) == written.checksum(4) != ""
    written.put(5, {"a": torch.tensor([2.0])})
    assert read.checksum(5) != read.checksum(4)
    with pytest.raises(CheckpointError, match="gone"):
        read.checksum(6)


def test_a_run_that_goes_back_to_its_checkpoint_publishes_older_versions_again(tmp_path: Path) -> None:
    channel = FolderChannel(tmp_path, keep=2)
    for version in (3, 5, 6):
        channel.put(version, {"w": torch.full((2,), float(version))})
    channel.put(4, {"w": torch.full((2,), 4.0)})
    assert channel.get(4)["w"].tolist() == [4.0, 4.0]
    for version in (5, 6):
        with pytest.raises(CheckpointError):
            channel.get(version)
