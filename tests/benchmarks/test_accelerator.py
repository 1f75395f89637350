"""The figures that the accelerator benchmark divides by, and that it runs from end to end."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accelerator.py"


def test_needed_work_is_counted_by_hand() -> None:
    """Per layer q and o 64 x 64, k and v 64 x 32, MLP 3 x 64 x 128, norms 2 x 64 + 2 x 16. Two of them, an
    output matrix of 512 x 64 and the last norm: N = 2 x 37,024 + 32,768 + 64 = 106,880."""
    names = runpy.run_path(str(SCRIPT))
    flops = names["training_flops"](names["TOY"], num_samples=3, sample_tokens=10)
    assert flops == 6 * 106_880 * 30 + 12 * 2 * 4 * 16 * (3 * 10 * 5)
    bound = names["decode_bound"](names["TOY"], batch_size=4, context_tokens=100.0, bytes_per_s=1e9)
    kv_bytes = 2 * 2 * 2 * 16 * 2  # keys and values, 2 layers, 2 heads of 16, 2 bytes each
    assert bound == pytest.approx(4 * 1e9 / (2 * 106_880 + 4 * 100 * kv_bytes))


@pytest.mark.integration
def test_the_tiny_benchmark_prints_both_tables() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--tiny"], capture_output=True, text=True, check=True, timeout=110
    )
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("toy")]
    assert [row[1] for row in rows] == ["128", "256", "4"]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)
