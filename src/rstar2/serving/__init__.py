"""A checkpoint behind OpenAI's HTTP API: chat and plain completions, whole or streamed, with tools or not.

    requests.py     what clients may ask
    refusal.py      saying no as OpenAI does
    served.py       what is served
    prompt.py       a conversation or a prompt -> tokens
    text.py         tokens -> text as it becomes certain; where it stops
    writing.py      one choice, written by the engines in slices
    echo.py         one choice with its prompt read back, token by token
    agent.py        one choice, written by the agent loop, which runs the tools itself
    tool_calls.py   calls in the model's text -> calls as clients know them
    choices.py      all choices of one request, written at the same time
    token_bytes.py  which bytes a token stands for
    replies.py      what clients get
    app.py          routes, streams, refusals

Not here: engines, sandboxes, and the loading of checkpoints; whoever assembles them hands in a `Served`.
"""

from rstar2.serving.app import make_app
from rstar2.serving.served import Agent, Read, ReadToken, Served

__all__ = ["Agent", "Read", "ReadToken", "Served", "make_app"]
