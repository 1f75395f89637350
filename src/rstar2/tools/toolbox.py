"""From the `[tools]` section of a config to a registry: which tools are on, and how servers are reached."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from rstar2.bearer_token import read_token
from rstar2.config import McpSection, ToolsSection
from rstar2.errors import ConfigError
from rstar2.ports import Sandbox, Sessions
from rstar2.tools.calculator import calculator_tool
from rstar2.tools.jupyter_code import jupyter_tool
from rstar2.tools.python_code import ProgramLimits, python_tool
from rstar2.tools.registry import Registry
from rstar2.tools.tool import Limits, Tool


@asynccontextmanager
async def toolbox(
    section: ToolsSection, *, sandbox: Sandbox, sessions: Sessions, limits: ProgramLimits
) -> AsyncIterator[Registry]:
    """Our own tools, then those of the MCP servers, which stay connected as long as the context is open."""
    async with AsyncExitStack() as stack:
        theirs = [tool for server in section.mcp for tool in await _tools_of(server, stack)]
        ours = {
            "python": python_tool(sandbox, limits),
            "jupyter": jupyter_tool(sessions, limits),
            "calculator": calculator_tool(),
        }
        yield Registry([*(ours[name] for name in section.enabled), *theirs])


async def _tools_of(section: McpSection, stack: AsyncExitStack) -> list[Tool]:
    try:
        from rstar2.tools.mcp_client import McpServer
        from rstar2.tools.mcp_connection import McpAddress
    except ImportError as error:
        raise ConfigError("tools.mcp needs the mcp package: pip install 'rstar2[mcp]'") from error
    file = section.token_file
    address = McpAddress(
        name=section.name,
        command=section.command,
        url=section.url,
        pass_env=section.pass_env,
        token=read_token(file, setting=f"token_file of the MCP server {section.name!r}") if file else "",
        start_limit_s=section.start_limit_s,
    )
    server = await stack.enter_async_context(McpServer(address))
    limits = Limits(time_limit_s=section.time_limit_s, output_limit_chars=section.output_limit_chars)
    return await server.tools(limits=limits, prefix=section.prefix, only=section.only)
