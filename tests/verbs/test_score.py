import pytest

from rstar2.config import RunConfig
from rstar2.errors import InputError
from rstar2.verbs import score as verb


@pytest.mark.parametrize("option", ["out", "keep"])
def test_a_folder_in_the_place_of_a_result_is_refused_before_anything_is_played(
    tmp_path, monkeypatch, option
):
    monkeypatch.setattr(verb, "_play", lambda *_: pytest.fail("played for nothing"))
    with pytest.raises(InputError, match=f"give --{option} the name of a file"):
        verb.score(RunConfig(), [], ks=[1], **{"out": None, option: tmp_path})
