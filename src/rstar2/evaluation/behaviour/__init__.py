"""How a policy behaves, beyond how often it is right: where it hesitates, and how it uses its tools.

recorded    records of rollouts.jsonl -> turns with their tokens
regions     what each token of a turn is part of: text, code, answer, format
entropy     which tokens are uncertain, and of which kind: forking, reflection, code, answer, format
tally       densities, frequent tokens, hesitation after a tool's response, with intervals
conduct     calls per right answer, recovery, redundant calls, verification, with intervals
tables      all of it as tables and JSON, for the terminal and for the page

Pure functions over what was recorded and over entropies in nats; who computes them is not known here.
"""
