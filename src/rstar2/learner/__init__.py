"""The learner: train samples in, better weights out.

filling.py        which samples are computed together, and by which rank: lengths only
packing.py        samples -> packed micro-batches; the only place where tensors are made of tokens
policy.py         a micro-batch -> log-probs of its targets: the module that is trained
logprobs.py       hidden states -> log-probs of the targets, never the whole logits
optimizer.py      AdamW, or Muon for the matrices inside the layers
tally.py          what micro-batches and ranks say of a step, added up
learner.py        `TorchLearner`, the `Learner` of one process
fsdp.py           `FsdpLearner`, one rank of a `Learner` of many
sharding.py       how a policy is cut into shards
adapters.py       LoRA: small matrices that learn in place of the model's own
shard_files.py    the optimizer's shards on disk
crew.py           `CrewLearner`, the `Learner` whose ranks are somewhere else
processes.py      `ProcessCrew`, ranks as processes of this machine
rendezvous.py     how ranks find each other
sharded_muon.py   Muon where matrices are shards
"""
