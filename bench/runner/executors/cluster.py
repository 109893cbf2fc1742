"""A Ray cluster: one of this machine's own devices, or one that runs already. Nothing but it is connected to."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from bench.errors import BenchError
from bench.runner.options import ClusterSettings

KNOCK = 10.0
"""Seconds in which a cluster's head must answer."""
STARTS = 3
"""So often a cluster of this machine's own is started: Ray gives up after 30 s, which a busy machine may need."""
LATE = "timed out"
"""What Ray says of a start that took too long."""
MISSING = "--executor ray needs the package ray: python -m pip install 'robustness-bench[ray]'"


class Node(NamedTuple):
    """A node that is alive.

    Attributes:
        id: Ray's.
        host: name or address.
        cpus: cores that Ray may give away.
        gpus: GPUs that it may give away.
    """

    id: str
    host: str
    cpus: float
    gpus: float


class Cluster:
    """A connection to Ray.

    Args:
        settings: the user's.
        cores: of this machine, where a cluster of its own is started.

    Raises:
        BenchError: where Ray isn't installed, or there is no cluster at the address.
    """

    def __init__(self, settings: ClusterSettings, cores: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of every cluster
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # CPU workers keep what GPUs they may see
        try:
            import ray
            from ray._private import worker
        except ImportError as error:
            raise BenchError(f"{MISSING} ({error})") from error
        self.ray: Any = ray  # Any: its annotations aren't followed
        if hasattr(worker, "print_to_stdstream"):  # the executor says in its own words that a worker has died
            worker.print_to_stdstream = _quiet
        # "local": else Ray would join any cluster that happens to run on this machine.
        own: dict[str, Any] = {"address": "local", "num_cpus": cores, "include_dashboard": False}
        where = own if settings.address is None else {"address": settings.address}
        _knock(settings.address)
        handler = signal.getsignal(signal.SIGTERM)
        try:
            self._init(where, 1 if settings.address else STARTS)
        except Exception as error:  # Ray raises a bare one where its own processes take too long
            place = f"--address {settings.address}" if settings.address else "--executor ray"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BenchError(f"{place}: no Ray cluster: {reason}") from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray's own would end the process before it has said how to go on

    def _init(self, where: dict[str, Any], times: int) -> None:  # Any: Ray's words
        """Connects; what a start that took too long leaves behind ends with this process."""
        for left in reversed(range(times)):
            try:
                self.ray.init(
                    **where,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=True,
                    namespace=f"bench-{os.getpid()}",
                )
            except Exception as error:
                if not left or LATE not in str(error):
                    raise
            else:
                return

    def nodes(self) -> list[Node]:
        """The nodes that are alive now."""
        return [
            Node(
                found["NodeID"],
                found.get("NodeManagerHostname") or found["NodeManagerAddress"],
                found["Resources"].get("CPU", 0.0),
                found["Resources"].get("GPU", 0.0),
            )
            for found in self.ray.nodes()
            if found["Alive"]
        ]

    @property
    def put(self) -> Callable[[Any], Any]:  # Any: whatever travels, and Ray's reference to it
        """Puts something where every node can get it; a node fetches it once, whoever of its workers asks."""
        put: Callable[[Any], Any] = self.ray.put
        return put

    def close(self) -> None:
        """Ends the connection, the workers with it, and a cluster of this process's own."""
        self.ray.shutdown()


def _knock(address: str | None) -> None:
    """Refuses at once an address where nobody listens: Ray would try for minutes.

    Raises:
        BenchError: naming it.
    """
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdigit():  # auto, or a form that Ray explains
        return
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK).close()
    except OSError as error:
        raise BenchError(f"--address {address}: no Ray cluster: {error.strerror or error}") from error


def _quiet(*words: object, **more: object) -> None:
    logging.getLogger(__name__).debug("%s", words)
