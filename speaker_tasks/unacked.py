"""What becomes of unacknowledged messages when the connection to Redis breaks: they stay where they are.

kombu gives them back when a channel closes, and acknowledges what ends later, over a connection that is gone: it then
fails with an AttributeError, which Celery takes for the end of the worker (kombu 5.7, `Channel._connparams`). Neither
is needed: a message comes back by its visibility timeout, and is dropped then if its job has ended.
"""

from __future__ import annotations

import logging
from typing import Any

from kombu.transport import redis as transport

logger = logging.getLogger(__name__)


class PatientQoS(transport.QoS):
    """kombu's own, but for a channel whose connection is gone."""

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give messages back if there is a connection to do it by."""
        if self._connected():
            super().restore_unacked_once(stderr)
            return
        self._on_collect.cancel()  # type: ignore[attr-defined]
        logger.info("the connection is gone: unacknowledged messages stay with Redis")

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge, if there is a connection to do it by."""
        if self._connected():
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject, if there is a connection to do it by."""
        if self._connected():
            super().reject(delivery_tag, requeue=requeue)

    def _connected(self) -> bool:
        return getattr(self.channel.connection, "client", None) is not None


def install() -> None:
    """Use it in every channel that this process opens."""
    transport.Channel.QoS = PatientQoS
