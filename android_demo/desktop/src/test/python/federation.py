"""A real gateway with an embedded broker, and Python devices: ``federation.py FOLDER PACKAGE STEPS NAME=DATA...``.

Three devices make a round. Prints the path of an enrolment file for ``cy``, which ``broker_server enroll`` wrote, as
soon as the gateway listens; once it and the devices named here have ended, one JSON object: the digests of all
versions, and each device's events of verdicts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[5]
sys.path.insert(0, str(ROOT / "tests/integration"))

from loop_federation import Federation, answer, url_of  # noqa: E402 - found through the line above

ROUNDS = 2


def main() -> None:
    """Tell the story."""
    folder, package, steps = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    federation = Federation(folder)
    try:
        options = ("--rounds", str(ROUNDS), "--quorum", "3", "--steps", steps, "--head-share", "0.1")
        gateway = federation.gateway(package, *options)
        url = url_of(gateway)
        told = answer("broker_server", "enroll", "cy", "--gateway", url, "--package", package, folder=folder)
        sys.stdout.write(f"{folder / told['out']}\n")
        sys.stdout.flush()
        pairs = dict(word.split("=", 1) for word in sys.argv[4:])
        devices = {name: federation.device(name, package, Path(data), url) for name, data in pairs.items()}
        for running in (*devices.values(), gateway):
            running.done()
        verdicts = {name: [event["code"] for event in device.events("verdict")] for name, device in devices.items()}
        merged = [event["accepted"] for event in gateway.events("version", reason="merge")]
        json.dump({"digests": federation.digests(), "verdicts": verdicts, "accepted": merged}, sys.stdout)
    finally:
        federation.close()


if __name__ == "__main__":
    main()
