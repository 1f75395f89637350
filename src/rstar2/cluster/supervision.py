"""How often something that dies is started again, and after which pause: pure, time is an argument.

A process that dies now and then is worth a replacement for as long as the run lasts; one that dies at once
again and again is not, because what kills it is in the config, the model or the machine.
"""

from collections import deque

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class Restarts:
    """Of one process: at most `most` within any `window_s`."""

    def __init__(self, *, most: int = 5, window_s: float = 600.0) -> None:
        assert most >= 1
        self.most = most
        self.window_s = window_s
        self._deaths_s: deque[float] = deque()

    def died(self, now_s: float) -> float | None:
        """Seconds to wait before the next start; None to give up.

        The first death is an accident and costs no time: 0, then 1, 2, 4, ... seconds.
        """
        while self._deaths_s and now_s - self._deaths_s[0] > self.window_s:
            self._deaths_s.popleft()
        self._deaths_s.append(now_s)
        num_recent = len(self._deaths_s)
        if num_recent > self.most:
            return None
        return 0.0 if num_recent == 1 else min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (num_recent - 2))


class Progress:
    """Of a run that goes on from its checkpoints: at most `most` restarts without a new one."""

    def __init__(self, *, most: int = 3) -> None:
        self.most = most
        self._num_in_vain = 0
        self._last = ""

    def is_worth_a_restart(self, checkpoint: str) -> bool:
        """Called after a death with the name of the newest checkpoint, empty if there is none."""
        if checkpoint != self._last:
            self._num_in_vain = 0
        self._last = checkpoint
        self._num_in_vain += 1
        return self._num_in_vain <= self.most
