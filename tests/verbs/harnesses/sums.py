"""A task of Inspect: the model writes, and its text must hold the product."""

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


@task
def sums() -> Task:
    samples = [Sample(input=f"What is {n} * 7?", target=str(7 * n)) for n in (6, 8)]
    return Task(dataset=samples, solver=generate(), scorer=includes())
