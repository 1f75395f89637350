"""What a rollout is played with: engines, sandbox and tools."""

from typing import Literal, Self

from pydantic import Field, model_validator

from rstar2.config.section import Section


class EngineSection(Section):
    kind: Literal["torch", "vllm", "remote"] = "torch"
    """Ours in this process; vLLM in processes of its own; somebody else's server. See docs/engines.md."""
    num_engines: int = Field(1, ge=1)
    kv_tokens: int = Field(200_000, ge=256)
    """KV-cache room of each engine, tokens, with kind "torch" of rows padded to the longest; of a server, how
    much of its room to ask for at a time."""
    max_running: int = Field(512, ge=1)
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What it computes on; `auto` takes a GPU if there is one. vLLM is built for one of them."""
    block_tokens: int = Field(32, ge=16, multiple_of=16)
    """vLLM: tokens per block of the KV cache; prefixes are shared in whole blocks."""
    eager: bool = False
    """vLLM: no compiled model and no CUDA graphs. Starts faster, runs slower; always so on a CPU."""
    weights: Literal["folder", "broadcast"] = "folder"
    """How new ones reach engines in other processes: through a folder that all see, or by a collective among
    learner and engines. Broadcast needs kind = "vllm" or a cluster; see docs/engines.md."""
    sleeps_while_learning: bool = False
    """vLLM on a GPU: give its memory to the learner while that steps."""
    url: str = ""
    """The server, as its clients write it: http://HOST:PORT/v1."""
    model: str = ""
    """By the server's name for it; empty for its only one."""
    token_file: str = ""
    """Holds the token (API key) that the server asks for; empty if it asks for none."""

    @model_validator(mode="after")
    def _server_is_named(self) -> Self:
        if self.kind != "remote" and (self.url or self.model or self.token_file):
            raise ValueError('url, model and token_file name a server: set kind = "remote", or remove them')
        if self.kind == "remote" and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"kind = \"remote\" needs url as http://HOST:PORT/v1, not '{self.url}'")
        if self.kind == "remote" and self.num_engines > 1:
            raise ValueError('kind = "remote" is one server: leave num_engines at 1')
        return self

    @model_validator(mode="after")
    def _only_vllm_has_its_settings(self) -> Self:
        if self.kind != "vllm" and (self.eager or self.sleeps_while_learning):
            raise ValueError('eager and sleeps_while_learning are for kind = "vllm": set it, or remove them')
        return self


class RolloutSection(Section):
    policy: Literal[
        "learned_reservation",
        "worst_case_reservation",
        "least_inflight_sticky",
        "round_robin_sticky",
        "greedy_queue",
        "static",
    ] = "learned_reservation"
    """Which engine writes a rollout's next turn, and when: ours, the paper's, verl's, the release's, RLinf's,
    and that of verl 0.2, which the paper started from; see docs/scheduling.md. A remote engine always has
    `worst_case_reservation`: it gives back nothing of a turn that is stopped."""
    max_lag: int = Field(0, ge=0)
    """Versions by which the weights that played a batch may be older than those that learn from it. 0:
    engines and learner take turns (paper); n: both work at once; see docs/overlap.md."""


class SandboxSection(Section):
    urls: tuple[str, ...] = ()
    """Servers (`rstar2 sandbox serve`) that run the programs; none runs them on this machine."""
    token_file: str = ""
    """Holds the token that the servers ask for; empty if they ask for none."""
    workers: int = Field(4, ge=1)
    """Programs that may run at the same time; with `urls`, the servers decide."""
    isolation: Literal["sealed", "full", "user", "none"] = "sealed"
    """`sealed` is `full` for root and `user` for everybody else; see docs/sandbox.md."""
    time_limit_s: float = Field(4.0, gt=0)
    """Per tool call (release: 4 s)."""
    memory_limit_mb: int = Field(512, ge=64)
    output_limit_chars: int = Field(4000, ge=64)
    grading_time_limit_s: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _urls_are_addresses(self) -> Self:
        if wrong := [url for url in self.urls if not url.startswith(("http://", "https://"))]:
            raise ValueError(f"urls must be written as http://HOST:PORT, not '{wrong[0]}'")
        if len({url.rstrip("/") for url in self.urls}) < len(self.urls):
            raise ValueError(f"urls must name each server once: {', '.join(self.urls)}")
        if self.token_file and not self.urls:
            raise ValueError("token_file is for the servers in urls: name them, or remove it")
        return self


class McpSection(Section):
    """A server of tools that speaks the Model Context Protocol; needs the extra `mcp`."""

    name: str
    """For messages."""
    command: tuple[str, ...] = ()
    """Program and arguments of a server that talks over its stdin and stdout."""
    url: str = ""
    """Of a server that talks streamable HTTP."""
    pass_env: tuple[str, ...] = ()
    """Environment variables that the program gets, besides HOME, PATH and their like."""
    token_file: str = ""
    """Holds the bearer token for the URL; empty if it asks for none."""
    prefix: str = ""
    """Put before the names of its tools, as two tools must not share one."""
    only: tuple[str, ...] = ()
    """The server's tools that are offered to the model; all by default."""
    start_limit_s: float = Field(60.0, gt=0)
    """From starting or calling the server to its first answer."""
    time_limit_s: float = Field(30.0, gt=0)
    """Per call."""
    output_limit_chars: int = Field(4000, ge=64)

    @model_validator(mode="after")
    def _is_reached_in_one_way(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError(f"the server {self.name!r} needs either command or url")
        if (self.token_file and not self.url) or (self.pass_env and not self.command):
            raise ValueError(f"the server {self.name!r}: pass_env is for a command, token_file for a url")
        return self


class ToolsSection(Section):
    """What a rollout may call; programs are held to the limits of `[sandbox]`."""

    enabled: tuple[Literal["python", "jupyter", "calculator"], ...] = ("python",)
    """Our own, in the order in which the prompt lists them (paper: Python only). None, and no server of
    tools either: the model answers directly."""
    live_sessions: int = Field(64, ge=1)
    """Rollouts whose notebook keeps its process; others' cells are run again when the next one comes. Servers
    have numbers of their own."""
    mcp: tuple[McpSection, ...] = ()
