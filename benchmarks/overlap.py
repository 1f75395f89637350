"""What it gains to let engines play the next batch while the learner learns, and what it costs.

    python benchmarks/overlap.py [--model runs/demo/models/sft] [--steps 20] [--problems 32] [--ranks 1]

The first stage of configs/tiny.toml from a model after SFT, with `rollout.max_lag` 0, 1, 0, 1; same seed and
problems, one torch thread each for the engine and the learner, so that two cores stand for two devices. Every
arm runs in a process of its own; `--ranks 1` gives the learner a process as well, `--ranks 0` a thread of the
same one. Printed are means over the steps after the first two, in which an overlap only begins.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from rstar2.assemble import training_parts
from rstar2.config import RunConfig, load_config
from rstar2.training.parts import SilentWatcher
from rstar2.training.progress import Progress
from rstar2.training.reinforce import Reinforcement

ARMS = (0, 1, 0, 1)
NUM_BEGINNING = 2
NUM_LAST = 5
"""Steps whose rewards are averaged at the end."""


def arm_config(arguments: argparse.Namespace, max_lag: int) -> RunConfig:
    overrides = {
        "model.base": f'"{arguments.model}"',
        "run.threads": 1,
        "run.checkpoint_every_s": 1e9,
        "learner.num_ranks": arguments.ranks,
        "learner.importance_cap": 2.0,  # of both, so that the lag is all that differs
        "rollout.max_lag": max_lag,
        "stages.0.steps": arguments.steps,
        "stages.0.problems_per_step": arguments.problems,
    }
    return load_config(Path("configs/tiny.toml"), [f"{key}={value}" for key, value in overrides.items()])


async def run_arm(config: RunConfig) -> None:
    """The stage's metrics as JSON lines on stdout."""
    with tempfile.TemporaryDirectory() as folder:
        async with training_parts(config, Path(folder), SilentWatcher()) as parts:
            stage = Reinforcement(parts, Progress(parts), config.stages[0], list(parts.train))
            await stage.run()
        sys.stdout.write((Path(folder) / "metrics.jsonl").read_text())


def summary(steps: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of one arm."""
    settled = steps[NUM_BEGINNING:]
    wall_s = sum(step["step_s"] for step in settled)
    learned = [step for step in settled if step["learner_num_target_tokens"]]
    return {
        "step, s": wall_s / len(settled),
        "generate, s": fmean(step["generate_s"] for step in settled),
        "learn, s": fmean(step["learn_s"] for step in settled),
        "learner idle, %": 100 * sum(step["learner_idle_s"] for step in settled) / wall_s,
        "engine idle, %": 100 * sum(step["engines_idle_s"] for step in settled) / wall_s,
        "mismatch KL, 1e-3": 1e3 * fmean(step["learner_mismatch_kl"] for step in learned),
        "capped, %": 100 * fmean(step["learner_capped_fraction"] for step in learned),
        f"reward, last {NUM_LAST}": fmean(step["reward"] for step in steps[-NUM_LAST:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("runs/demo/models/sft"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--problems", type=int, default=32, help="per step, each played 16 times")
    parser.add_argument("--ranks", type=int, default=1, help="processes of the learner; 0: a thread")
    parser.add_argument("--arm", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm is not None:
        asyncio.run(run_arm(arm_config(arguments, arguments.arm)))
        return
    for place, max_lag in enumerate(ARMS):
        child = subprocess.run(
            [sys.executable, *sys.argv, "--arm", str(max_lag)], stdout=subprocess.PIPE, text=True, check=True
        )
        row = summary([json.loads(line) for line in child.stdout.splitlines()])
        if not place:
            print("| max_lag | " + " | ".join(row) + " |\n|---" + "|---" * len(row) + "|")
        print(f"| {max_lag} | " + " | ".join(f"{value:.2f}" for value in row.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
