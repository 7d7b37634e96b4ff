"""A real gateway with an embedded broker, and Python devices: ``federation.py FOLDER PACKAGE STEPS NAME=DATA...``.

Everybody is enrolled: TLS with certificates of both sides, and everything that the gateway says is signed. Three
devices make a round. Prints the path of an enrolment file for ``cy`` as soon as the gateway listens, unless ``cy`` is
one of the devices named here; once all have ended, one JSON object: the digests of all versions, and each device's
events of verdicts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[5]
sys.path.insert(0, str(ROOT / "tests/integration"))

from loop_federation import Federation, Running, answer, port_of  # noqa: E402 - found through the line above

ROUNDS = 2


def enrolled(folder: Path, name: str, url: str) -> Path:
    """Return the enrolment file of a new device."""
    return folder / str(answer("broker_server", "enroll", name, "--gateway", url, "--no-qr", folder=folder)["out"])


def device(federation: Federation, name: str, package: Path, data: str, url: str) -> Running:
    """Start a Python device."""
    return federation.start(
        name, "edge_runtime", "run", "--enrolment", enrolled(federation.folder, name, url), "--package", package,
        "--data", data, "--state", federation.folder / name, "--threads", "1", "--json",
    )  # fmt: skip


def main() -> None:
    """Tell the story."""
    folder, package, steps = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    federation = Federation(folder)
    try:
        options = ("--rounds", str(ROUNDS), "--quorum", "3", "--steps", steps, "--head-share", "0.1")
        answer("broker_server", "init", "--host", "127.0.0.1", "--package", package, folder=folder)
        gateway = federation.gateway(package, "--host", "127.0.0.1", *options)
        url = f"mqtts://127.0.0.1:{port_of(gateway)}"
        pairs = dict(word.split("=", 1) for word in sys.argv[4:])
        sys.stdout.write(f"{'' if 'cy' in pairs else enrolled(folder, 'cy', url)}\n")
        sys.stdout.flush()
        devices = {name: device(federation, name, package, data, url) for name, data in pairs.items()}
        for running in (*devices.values(), gateway):
            running.done()
        verdicts = {name: [event["code"] for event in device.events("verdict")] for name, device in devices.items()}
        merged = [event["accepted"] for event in gateway.events("version", reason="merge")]
        json.dump({"digests": federation.digests(), "verdicts": verdicts, "accepted": merged}, sys.stdout)
    finally:
        federation.close()


if __name__ == "__main__":
    main()
