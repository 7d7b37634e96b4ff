"""The tables [listen], [round], [train] and [limits] of a configuration; [web] is in web_config.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ConnectionLimits:
    """What the embedded broker puts up with from one client, one address, and all.

    Args:
        connections: devices that are connected, at most.
        connections_per_address: devices that are connected from one IPv4 address or IPv6 /64 network, at most.
        handshakes: connections that have not said who they are, at most; the oldest silent one goes for the next.
        handshakes_per_address: such connections from one address, at most; likewise.
        connect_s: seconds in which a connection has to say who it is, TLS included.
        messages_per_s: messages of one device; one that sends faster is read more slowly, and nothing is dropped.
        hellos_per_s: Hello and Bye of one device, together; likewise.
    """

    connections: int = 2048
    connections_per_address: int = 256
    handshakes: int = 512
    handshakes_per_address: int = 64
    connect_s: float = 10.0
    messages_per_s: float = 200.0
    hellos_per_s: float = 2.0


@dataclass(frozen=True)
class Listen(ConnectionLimits):
    """The listener of the embedded broker, or of a supervised Mosquitto.

    Args:
        host: address to listen on.
        port: to listen on; 0 chooses a free one.
        allow_plaintext: take devices from other machines without encryption.
        ca: PEM file of the authority that signs devices' certificates; with it only these are let in, over TLS.
        certificate: PEM file of the gateway's certificate; it goes with ``ca``.
        key: PEM file of its key, not encrypted.
        revoked: file of the certificates that are refused, by serial number, one a line; a change is heeded at once.
        public_host: the host by which devices reach the gateway, for their enrolments; "": ``host``.
        websocket_port: for MQTT over WebSockets; 0: none.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    allow_plaintext: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    revoked: Path | None = None
    public_host: str = ""
    websocket_port: int = 0


@dataclass(frozen=True)
class RoundRules:
    """What a round asks for.

    Args:
        quorum: devices that must be ready before a round starts, and deltas that it needs to close.
        cohort: devices that a round plans for, drawn anew for each round from those that are ready; when it waits once
            more, others are drawn in place of those that did not answer; with ``buffer``, devices that are at work at a
            time; 0: all that are ready.
        every_s: seconds from one round's opening to the next at least: each version goes to every device that is here,
            so a large fleet wants only so many a day; a restart opens a round at once; without effect on ``buffer``; 0:
            no pause.
        deadline_s: how long a round stays open for deltas, and how long each extension lasts.
        join_wait_s: how long the start waits for more devices once the quorum is ready, so that those that start
            together share a round.
        grace_s: how long the start waits for class statistics on their way; it then goes on without them.
        max_staleness: how many versions a delta's base may lie behind the current one.
        newcomer_wait_s: once all devices that answered a plan before have answered, how long the others are waited for.
        training_s: how long every device trains in a round: as many steps as fit, in the top layers alone where a step
            through all of them takes too long; 0: each makes ``train.steps`` steps, however long they take.
        buffer: merge as soon as so many deltas came, whoever sent them, and give a device its next plan as soon as it
            answered (FedBuff); deltas count less the more versions moved their experts meanwhile, so max_staleness
            wants room; ``quorum`` is needed for the first start, ``deadline_s`` is how long a plan may take and the
            buffer may fill, and ``rounds`` counts merges; 0: in rounds, which all start from one version.
        missed_plans: plans in a row without an answer after which a device rests: it has no place in a quorum and gets
            no plan for ``deadline_s``, then for twice as long with each further one, up to an hour; 0: never.
    """

    quorum: int = 2
    cohort: int = 0
    every_s: float = 0.0
    deadline_s: float = 300.0
    join_wait_s: float = 2.0
    grace_s: float = 60.0
    max_staleness: int = 2
    newcomer_wait_s: float = 30.0
    training_s: float = 0.0
    buffer: int = 0
    missed_plans: int = 2


@dataclass(frozen=True)
class Train:
    """What devices are asked to do.

    Args:
        steps: optimizer steps in a round; fewer where a device's own budget of seconds is too short.
        most_steps: with ``round.training_s``, steps of a device that has time for more.
        enough_steps: with ``round.training_s`` or a budget of seconds, a device trains only as many layers, from the
            top, as leave it time for so many steps; where no depth does, the fewest that it can.
        most_epochs: with ``round.training_s``, of a device that has time for more: passes over its own examples in a
            round; 0: any number.
        learning_rate: in the first round; falls in a straight line over ``decay_rounds`` to ``final_share`` of it.
        final_share: share of the learning rate that is left in the last round and after it.
        decay_rounds: over how many rounds the rate falls; 0: the planned rounds, or 40 when no end is planned.
        shared_share: learning rate of the shared experts, as a share of ``learning_rate``; 0: they are not trained.
        head_share: learning rate of the head, likewise; 0: the head stays as the class means made it. A trained head
            is worth up to a point, and every delta then tells how many examples of each label the device trained on.
        weight_decay: AdamW's.
        codec: how deltas are written: "float32", "int8", or "auto": float32, and int8 where the device's uplink budget
            is too small.
        codec_down: "float32": devices get each version exactly as it was merged; "int8": in steps that take about a
            quarter of the bytes, and what a step leaves out comes with the next merge.
    """

    steps: int = 30
    most_steps: int = 60
    enough_steps: int = 2
    most_epochs: float = 8.0
    learning_rate: float = 4e-3
    final_share: float = 0.1
    decay_rounds: int = 0
    shared_share: float = 1.0
    head_share: float = 0.0
    weight_decay: float = 0.0
    codec: str = "int8"
    codec_down: str = "int8"


@dataclass(frozen=True)
class Limits:
    """What the gateway puts up with.

    Args:
        norm_factor: an update this many times the usual norm is refused; 0: norms are not checked.
        norm_clip: an update's blocks are cut to this many times the round's median norm of their kind; 0: never.
        weight_multiple: a device's examples count for at most this many times the round's median; 0: any number.
        weight_share: a device's examples count for at most this share of all examples of the round, or twice an equal
            part if that is more;
            1: any share. Class sums are capped likewise, in all and label by label.
        most_examples: a device's examples count for at most so many, whatever the others have, in deltas and in class
            sums; 0: any number.
        devices: that said Hello since the gateway started, here or gone again: it keeps them in memory, and tells
            whoever comes beyond them BUSY.
        hellos_per_minute: Hellos of one device; for more it is told BUSY, and then nothing. 0: any number.
        new_names_per_hour: names that never said Hello before and are let in, where no certificates prove them; 0: any
            number.
        idle_names: names that never had a delta accepted and are not here, of which those seen last are remembered.
        blob_window_s: requests for blocks are gathered until none came for so long, for eight times as long at most, or
            until all that are here asked; then each block is published once.
        blob_repeat_s: how soon a block is published again; who has it lets go of its topic meanwhile.
        retry_after_s: after how long a device is told to try again when the disk is full, or when it is told BUSY.
        body_bytes: the largest body that is taken; 0: what the bank's size makes possible.
        transfer_bytes: of all bodies that devices may send at one time; what others offer waits for its turn. What came
            of bodies that stopped coming takes up as much again, in memory and on the disk.
        keep_versions: the newest versions whose blocks stay on the disk, and version 0, with the rows of their deltas
            and of plans since; older ones are removed, as far as no plan or delta on its way needs them. 0: all.
        keep_rounds: the last rounds of which the ledger tells when they ran, what version they made and what that was
            worth, and the journal has a line; at least those of the versions that are kept. 0: all.
    """

    norm_factor: float = 10.0
    norm_clip: float = 1.5
    weight_multiple: float = 10.0
    weight_share: float = 0.25
    most_examples: int = 0
    devices: int = 20_000
    hellos_per_minute: int = 30
    new_names_per_hour: int = 300
    idle_names: int = 5000
    blob_window_s: float = 0.25
    blob_repeat_s: float = 2.0
    retry_after_s: float = 60.0
    body_bytes: int = 0
    transfer_bytes: int = 32 * 1024 * 1024
    keep_versions: int = 50
    keep_rounds: int = 1000
