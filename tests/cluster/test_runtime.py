import socket

import pytest

from rstar2.cluster.runtime import connected
from rstar2.errors import ConfigError


def test_an_address_where_nobody_listens_is_refused_at_once_with_the_remedy() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with (
            pytest.raises(ConfigError, match=f"nobody answers at {address}.*ray start --head"),
            connected(address, ()),
        ):
            pass


@pytest.mark.parametrize("address", ["here", "10.0.0.1", ":6379", "10.0.0.1:ray"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"), connected(address, ()):
        pass
