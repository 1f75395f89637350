"""Agentic reinforcement learning: a language model learns to solve problems by writing Python and running it.

The story, in the order in which the folders tell it:

    problems     a question with a checkable answer
    protocol     how questions, tool calls and answers are written as tokens
    engines      write the policy's turns, token by token, with their log-probs
    sandbox      runs the programs that the turns call for
    rollout      turns and tool results, until an answer: 2G rollouts of one problem make a group
    rewards      1 if the answer is right, else 0
    grpo         Resample-on-Correct keeps G of the 2G; they become advantages, and a loss
    learner      one step of gradient; the engines adopt the new weights
    training     a base model, non-reasoning SFT, RL in stages; evaluation measures each of them

The vocabulary is in `types`, the six seams in `ports`, every knob in `config`; `assemble` joins the parts.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
