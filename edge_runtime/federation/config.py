"""Settings of a device that runs in a federation: read once from arguments and environment, frozen."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.errors import ConfigError
from edge_runtime.training.budget import Budget
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.topics import check_name

CODECS = {"float32": pb.FLOAT32, "int8": pb.INT8}


@dataclass(frozen=True)
class RunConfig:
    """How one device takes part.

    Args:
        device: its id.
        federation: its name, part of every topic.
        rounds: stop after that many deltas were decided on; 0 goes on until the gateway is done.
        codecs: that the device offers to write.
        budget: what it may spend.
        checkpoint_s: at most that many seconds of training are lost by a kill.
        driver: what executes programs, for Hello.
        gateway_key: public key of the gateway, 32 bytes; empty takes what is not signed.
        label_prior: strength with which predictions follow this device's own labels; nothing of it is sent.
    """

    device: str
    federation: str = "default"
    rounds: int = 0
    codecs: tuple[int, ...] = (pb.FLOAT32, pb.INT8)
    budget: Budget = field(default_factory=Budget)
    checkpoint_s: float = 5.0
    driver: str = ""
    gateway_key: bytes = b""
    label_prior: float = 0.0

    def __post_init__(self) -> None:
        try:
            check_name(self.device, "device")
            check_name(self.federation, "federation")
        except MalformedMessage as error:
            raise ConfigError(error.detail) from error
        if self.rounds < 0:
            raise ConfigError(f"got {self.rounds} rounds, expected 0 (no end) or more")


def default_device() -> str:
    """Return this machine's name as a device id."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip("-._")[:64] or "device"


def default_state(federation: str, device: str) -> Path:
    """Return where state lives when nobody says: below XDG_STATE_HOME, by federation and device."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local/state") / "edge_runtime" / federation / device


def default_prefixes() -> Path:
    """Return where prefixes of local training are kept when nobody says: below XDG_CACHE_HOME."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "edge_runtime" / "prefixes"


def credentials() -> tuple[str, str]:
    """Return user and password for the broker from EDGE_RUNTIME_USER and EDGE_RUNTIME_PASSWORD, empty without."""
    return os.environ.get("EDGE_RUNTIME_USER", ""), os.environ.get("EDGE_RUNTIME_PASSWORD", "")
