"""The recipe: a base model, non-reasoning SFT, RL in stages; each phase resumable at every step."""
