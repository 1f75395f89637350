from pathlib import Path

import pytest

from rstar2.assemble.elsewhere import as_seen_elsewhere
from rstar2.config import parse_config
from rstar2.errors import ConfigError


@pytest.mark.parametrize(("accelerator", "device"), [("cpu-2-cores", "cpu"), ("h100", "cuda")])
def test_all_compute_on_what_is_booked_whatever_their_machine_has(accelerator: str, device: str) -> None:
    seen = as_seen_elsewhere(
        parse_config({"cluster": {"accelerator": accelerator}, "learner": {"num_ranks": 2}})
    )
    assert (seen.engine.device, seen.learner.device) == (device, device)


@pytest.mark.parametrize(
    ("section", "device", "accelerator"), [("learner", "cuda", "cpu-2-cores"), ("engine", "cpu", "h100")]
)
def test_a_device_that_is_not_booked_is_refused(section: str, device: str, accelerator: str) -> None:
    data: dict[str, dict[str, object]] = {"learner": {"num_ranks": 2}, "engine": {}}
    data[section]["device"] = device
    config = parse_config(data | {"cluster": {"accelerator": accelerator}})
    with pytest.raises(ConfigError, match=rf'{section}\.device = "{device}".*"{accelerator}" books for'):
        as_seen_elsewhere(config)


def test_a_learner_of_this_process_computes_where_it_likes() -> None:
    seen = as_seen_elsewhere(parse_config({"learner": {"device": "cuda"}}))
    assert seen.learner.device == "cuda"


def test_a_model_in_a_folder_gets_a_path_that_means_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("models/sft", "tiny"):
        Path(name).mkdir(parents=True)
    names = ("models/sft", "tiny", "Qwen/Qwen3-14B")
    seen = [as_seen_elsewhere(parse_config({"model": {"base": name}})).model.base for name in names]
    assert seen == [str(tmp_path / "models" / "sft"), "tiny", "Qwen/Qwen3-14B"]
