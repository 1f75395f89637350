"""GRPO-RoC: from graded rollouts to a gradient, pure maths without a model.

roc.py         2G graded rollouts of a problem -> the G that are learned from
advantage.py   those G -> train samples, each with one advantage
loss.py        log-probs of their tokens -> clip-higher loss, or masked likelihood
"""
