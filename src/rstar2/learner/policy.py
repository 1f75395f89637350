"""The policy as a module from a packed micro-batch to the log-probs of its targets.

One module with one `forward`, because that is the boundary at which sharded parameters are gathered: nothing
outside of it may read a weight of the model while it computes.

Not every model is what this computes: one may scale or bias its logits, or attend in a way of its own.

Shape suffixes: N packed tokens, T targets of the loss among them, D hidden size, B sequences of L tokens.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rstar2.errors import ConfigError
from rstar2.learner.logprobs import token_logprobs
from rstar2.learner.packing import MicroBatch, pack
from rstar2.models.packed_attention import use_packed_attention
from rstar2.types import TrainSample

_PROMPT_TOKENS, _SEQUENCE_TOKENS = 5, 11
"""Of the two sequences that a model is tried on."""


class Policy(nn.Module):
    """A transformers causal LM, taken over: its attention becomes the packed one.

    With `autocast_bf16`, forward and backward run in bfloat16 on parameters that stay as they are.
    """

    def __init__(self, model: PreTrainedModel, *, logprob_chunk_tokens: int, autocast_bf16: bool) -> None:
        super().__init__()
        self.model = model
        self._logprob_chunk_tokens = logprob_chunk_tokens
        self._autocast_bf16 = autocast_bf16
        use_packed_attention(model)

    def forward(self, batch: MicroBatch, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """(log-prob, entropy) of every target, float32 nats, (T,), in softmax(logits / temperature)."""
        with torch.autocast(batch.token_ids_N.device.type, torch.bfloat16, enabled=self._autocast_bf16):
            output = self.model.base_model(
                input_ids=batch.token_ids_N[None],
                position_ids=batch.positions_N[None],
                layout=batch.layout,
                use_cache=False,
            )
        hidden_TD = output.last_hidden_state[0].index_select(0, batch.source_T)
        dtype = torch.bfloat16 if self._autocast_bf16 else hidden_TD.dtype
        logprobs_T, entropy_T = token_logprobs(
            hidden_TD.to(dtype),
            self.model.get_output_embeddings().weight.to(dtype),
            batch.target_T,
            temperature=temperature,
            chunk_tokens=self._logprob_chunk_tokens,
        )
        return logprobs_T, entropy_T


def refuse_another_model(model: PreTrainedModel) -> None:
    """ConfigError unless the policy of `model` is what its own forward computes.

    Tried on two sequences that share a prompt, so that what one leaks to the other shows, too. In half
    precision, where rounding differs, only gross differences do.
    """
    num_tokens = model.get_input_embeddings().num_embeddings
    ids_BL = torch.arange(1, 1 + _SEQUENCE_TOKENS).repeat(2, 1)
    ids_BL[1, _PROMPT_TOKENS:] += 1
    ids_BL %= num_tokens
    bound_nats = 0.01 if next(model.parameters()).dtype == torch.float32 else 0.2
    with torch.no_grad():
        difference_BL = _policy_logprobs(model, ids_BL) - _own_logprobs(model, ids_BL)
    use_packed_attention(model)
    if not (mean_nats := difference_BL.abs().mean().item()) < bound_nats:
        raise ConfigError(
            f"the learner would train another model than {type(model).__name__}: log-probs differ by "
            f"{mean_nats:.2g} nats, as where logits are scaled, capped or biased; give another model.base"
        )


def _policy_logprobs(model: PreTrainedModel, ids_BL: Tensor) -> Tensor:
    """Of all tokens but the first, by packing."""
    length = ids_BL.shape[1]
    samples = [
        TrainSample(
            token_ids=tuple(ids_L),
            loss_mask=(False, *[True] * (length - 1)),
            logprobs=(0.0,) * length,
            prompt_length=_PROMPT_TOKENS,
            group_id="tried",
        )
        for ids_L in ids_BL.tolist()
    ]
    (batch,) = pack(samples, micro_batch_tokens=ids_BL.numel(), device=model.device)
    logprobs_T, _ = Policy(model, logprob_chunk_tokens=ids_BL.numel(), autocast_bf16=False)(batch)
    of_sample = batch.split(logprobs_T)
    return torch.stack([of_sample[i] for i in range(len(samples))])


def _own_logprobs(model: PreTrainedModel, ids_BL: Tensor) -> Tensor:
    """Of the same tokens, as transformers has them."""
    model.set_attn_implementation("eager")
    ids_BL = ids_BL.to(model.device)
    logits: Tensor = model(input_ids=ids_BL, use_cache=False).logits[:, :-1].float()
    return logits.log_softmax(-1).gather(2, ids_BL[:, 1:, None])[..., 0]
