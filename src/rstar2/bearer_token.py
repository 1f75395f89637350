"""Bearer tokens: given as files, so that they show neither in a process list nor in a config; and checked."""

import hmac
from pathlib import Path

from rstar2.errors import ConfigError


def read_token(file: Path | str, *, setting: str) -> str:
    """The token in a file; ConfigError names the `setting` that led there if it holds none."""
    path = Path(file).expanduser()
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting} cannot be read ({error}): name a text file") from error
    if not token:
        raise ConfigError(f"{setting}: '{path}' is empty; put the token into it")
    if not (token.isascii() and token.isprintable()):  # it travels in a header of HTTP
        raise ConfigError(f"{setting}: '{path}' must hold one line of ASCII, the token")
    return token


def is_shown(header: str, token: str) -> bool:
    """Whether an Authorization header shows the token, in a time that tells nothing of it."""
    given = header.encode("utf-8", "surrogateescape")
    return hmac.compare_digest(given, f"Bearer {token}".encode())
