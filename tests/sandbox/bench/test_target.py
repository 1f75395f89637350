import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from rstar2.errors import InputError, SandboxError
from rstar2.sandbox.bench.target import Target, running_service


@pytest.fixture
def port() -> Iterator[int]:
    """Where this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_process_of_a_service_here_is_looked_up_unless_it_is_told(port):
    url = f"http://127.0.0.1:{port}"
    assert asyncio.run(running_service(url)) == Target(url=url, pid=os.getpid())
    assert asyncio.run(running_service(url, pid=1)) == Target(url=url, pid=1)


def test_a_process_that_is_not_there_is_refused(port):
    with pytest.raises(InputError, match=f"no process {1 << 30}: give the --pid"):
        asyncio.run(running_service(f"http://127.0.0.1:{port}", pid=1 << 30))


def test_where_nobody_listens_nothing_is_measured():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(SandboxError, match=f"no service can be reached at {url} .*: start one"):
            asyncio.run(running_service(url))


@pytest.mark.parametrize("url", ["foo", "127.0.0.1:80", "ftp://host:21", "http://:80", "http://host:x"])
def test_what_is_no_address_is_told_how_one_is_written(url):
    with pytest.raises(InputError, match="write it as http://HOST:PORT"):
        asyncio.run(running_service(url))
