"""The learner: train samples in, better weights out.

packing.py      samples -> packed micro-batches; the only place where tensors are made of tokens
logprobs.py     hidden states -> log-probs of the targets, never the whole logits
learner.py      `TorchLearner`, the `Learner` of one process
"""
