"""A server like that of `rstar2 serve`, whose model answers by heart: what is right must be scored as right.

The first key of ANSWERS that is found in the last message decides.
"""

import asyncio
import sys

from rstar2.engines.scripted import ScriptedEngine
from rstar2.protocol.template import Template
from rstar2.protocol.tokenizer import load_tokenizer
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.sandbox.server.app import listening
from rstar2.serving import Served, make_app
from rstar2.types import GenerationRequest
from rstar2.verbs.address import bound_to, resolved, url_of


def call(name: str, arguments: str) -> str:
    return f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'


def weather(*cities: str) -> str:
    return "".join(call("get_current_weather", f'{{"location": "{city}"}}') for city in cities)


ANSWERS = {
    # live_parallel of BFCL: three right, one with the wrong cities, and nothing for the others
    "conditions for Boston, MA": "I look.</reason>" + weather("Boston, MA", "San Francisco, CA"),
    "Canc\u00fan": weather("Tulum, QR", "Canc\u00fan, QR", "Playa del Carmen, QR"),
    "testing.txt": call("cmd_controller_execute", r'{"command": "dir c:\\"}')
    + call("cmd_controller_execute", r'{"command": "echo.>C:\\testing.txt"}'),
    "What's the snow like": call("get_snow_report", '{"location": "Paris, Texas"}') * 2,
    # a turn of its multi_turn_base: a call, and a text that takes the tool's response
    "Move 'final_report.pdf'": call("cd", '{"folder": "document"}'),
    '<tool_response>\n{"current_working_directory": "document"}': "I am in document.",
    # rows of ours in the schema of IFEval
    "Name a prime": "Not one, not four.</reason><answer>Seven is a prime</answer>",
    "Name another prime": "A prime, I think.",
    "Name a city": 'Sure!\n"Paris"',
}
FOR_ALL_ELSE = "I do not know."


async def serve(checkpoint: str) -> None:
    tokenizer = load_tokenizer(checkpoint)

    def rest_of_turn(request: GenerationRequest) -> tuple[int, ...]:
        prompt = tokenizer.decode(request.token_ids[: request.prompt_length])
        asked = prompt.rpartition("<|im_start|>user")[2]
        answer = next((answer for key, answer in ANSWERS.items() if key in asked), FOR_ALL_ELSE)
        turn = (*tokenizer.encode(answer), tokenizer.eos_token_id)
        return turn[len(request.token_ids) - request.prompt_length :]

    engines = [ScriptedEngine(rest_of_turn)]
    served = Served(
        name=checkpoint,
        template=Template(tokenizer, system="", user="{question}", tools=()),
        engines=engines,
        dispatcher=Dispatcher(engines),
        context_tokens=1_000_000,
        max_tokens=400,
    )
    with bound_to(*resolved("127.0.0.1", 0)) as bound:
        async with listening(make_app(served), bound):
            print(f"ready: {url_of(bound)}/v1", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
