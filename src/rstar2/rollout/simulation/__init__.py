"""A cluster on paper: recorded or drawn rollouts played against any placement policy in virtual time.

    step_times.py   how long an iteration of an engine takes
    engine.py       one engine: admission, chunked prefill, decoding, kept prefixes, retraction
    cluster.py      the events: turns end, tools return, engines die; the policy decides
    bound.py        what no schedule can beat
    clairvoyant.py  what a policy reaches that knows all lengths
    outcome.py      what came of a run

Not here: what rollouts look like (`workload.py`) and what engines and models can do (`rstar2.profiles`).
"""
