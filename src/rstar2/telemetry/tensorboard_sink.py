"""A run's numbers as TensorBoard reads them: RUN/tensorboard/events.out.tfevents.*"""

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class TensorBoardSink:
    """Writes one file of events for each life of the run."""

    def __init__(self, folder: Path, num_steps: int) -> None:
        self._writer = EventFileWriter(str(folder / "tensorboard"))
        # TensorBoard then forgets what an earlier life told of steps that are taken again.
        start = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=num_steps + 1, session_log=start))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
