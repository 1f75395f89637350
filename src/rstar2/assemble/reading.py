"""A checkpoint that reads texts it is given: a second copy of the weights, beside those of the engines.

Engines go forward only, from keys and values that they keep; here a whole text is looked at once.

Shape suffixes: T tokens, C of them at a time, D hidden size, V vocabulary.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rstar2.assemble.devices import device_type
from rstar2.assemble.policy import load_policy
from rstar2.config import RunConfig
from rstar2.errors import ConfigError
from rstar2.serving import ReadToken

_CHUNK_TOKENS = 512
"""Logits of so many tokens at a time, as those of a long text would not fit."""
_TRIED_TOKENS = 11
"""Of the text that a model is tried on."""


class Reader:
    """Implements `serving.Read`: one text at a time, in a thread of its own.

    A thread cannot be stopped: whoever gives up amid a text leaves it to be read to its end, and the next one
    waits for that. Texts that are given up before their turn are never read. ConfigError if the model makes
    more of its output matrix's products than logits: some scale or cap them.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model.eval()
        self._refuse_other_logits()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")

    async def __call__(self, token_ids: Sequence[int]) -> list[ReadToken]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, token_ids)

    @torch.inference_mode()
    def _read(self, token_ids: Sequence[int]) -> list[ReadToken]:
        ids_T = torch.tensor(token_ids, device=self._model.device)
        hidden_TD = self._model.base_model(input_ids=ids_T[None]).last_hidden_state[0, :-1]
        chunks = zip(
            torch.split(hidden_TD, _CHUNK_TOKENS), torch.split(ids_T[1:], _CHUNK_TOKENS), strict=True
        )
        return [token for hidden_CD, ids_C in chunks for token in self._tokens(hidden_CD, ids_C)]

    @torch.inference_mode()
    def _refuse_other_logits(self) -> None:
        """In half precision, where rounding differs, only gross differences show."""
        num_ids = self._model.get_input_embeddings().num_embeddings
        ids_T = torch.arange(_TRIED_TOKENS, device=self._model.device) % num_ids
        logits_TV = self._model(input_ids=ids_T[None], use_cache=False).logits[0, :-1].float()
        own_T = logits_TV.log_softmax(dim=-1).gather(1, ids_T[1:, None])[:, 0]
        read_T = own_T.new_tensor([token.logprob for token in self._read(ids_T.tolist())])
        bound_nats = 1e-4 if self._model.dtype == torch.float32 else 0.2
        if not (mean_nats := (read_T - own_T).abs().mean().item()) < bound_nats:
            raise ConfigError(
                f"--echo would read other log-probs than those of {type(self._model).__name__}: they differ "
                f"by {mean_nats:.2g} nats, as where logits are scaled or capped; serve it without --echo"
            )

    def _tokens(self, hidden_CD: Tensor, ids_C: Tensor) -> list[ReadToken]:
        logprobs_CV = self._model.get_output_embeddings()(hidden_CD).float().log_softmax(dim=-1)
        own_C = logprobs_CV.gather(1, ids_C[:, None])[:, 0]
        best_C, best_ids_C = logprobs_CV.max(dim=-1)
        return [
            ReadToken(logprob=own, likeliest_id=best_id, likeliest_logprob=best)
            for own, best_id, best in zip(own_C.tolist(), best_ids_C.tolist(), best_C.tolist(), strict=True)
        ]


def new_reader(config: RunConfig) -> Reader:
    """Of the checkpoint `model.base`."""
    return Reader(load_policy(config).model.to(device_type(config.learner.device)))
