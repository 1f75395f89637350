"""A seed for each turn, where the engine is not ours and a seed is all that it can be given."""

import hashlib

from rstar2.types import GenerationRequest


def turn_seed(request: GenerationRequest) -> int:
    """0 to 2^56 - 1, by the rollout's seed and the turn's first position.

    Such engines begin a generator anew with every request: with the rollout's seed alone, all turns of a
    rollout would see the same random numbers.
    """
    text = f"{request.seed}/{len(request.token_ids)}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")
