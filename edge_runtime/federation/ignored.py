"""Messages that a device ignores: each is told, and forged ones ever more rarely."""

from __future__ import annotations

from collections import Counter

from edge_runtime.federation.report import Report
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.topics import Topic


class Ignored:
    """Tells of the messages that are ignored. Args: report: where."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._forged: Counter[Topic] = Counter()
        """Messages that are not the gateway's."""

    def tell(self, topic: Topic, error: WireError) -> None:
        """Tell of one. Args: topic: that it came on; error: why it is ignored."""
        text, times = f"ignored a message on {topic.value}: {error}", 1
        if error.code == pb.BAD_SIGNATURE:
            self._forged[topic] += 1
            times = self._forged[topic]
            if times & (times - 1):  # whoever can send one can send a million: told are 1, 2, 4, 8 ... of them
                return
            text = f"{text}; somebody else can publish at the broker" if times == 1 else ""
        self._report.emit("ignored", text, topic=topic.value, reason=str(error), times=times)
