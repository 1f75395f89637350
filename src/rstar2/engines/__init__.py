"""Writes turns: engines that turn token ids into token ids with log-probs."""
