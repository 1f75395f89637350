import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> None:
    """Tensors of this size only wait for a second thread, for seconds when the machine is busy."""
    torch.set_num_threads(1)
