"""benchmarks.broker: every byte goes up and down, and the figures are rates of what it says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import broker


@pytest.mark.parametrize("mqtt", ["3", "5"])
def test_every_body_goes_up_and_down(mqtt: str) -> None:
    """Three clients, two bodies of 300 kB each, in three chunks; the clients end by themselves."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.broker",
        "--clients",
        "3",
        "--bodies",
        "2",
        "--body-kb",
        "300",
        "--json",
    ]
    told = json.loads(subprocess.run([*command, "--mqtt", mqtt], check=True, capture_output=True, timeout=60).stdout)
    assert (told["clients"], told["bodies"], told["body_kb"], told["mqtt"]) == (3, 2, 300, mqtt)
    assert min(told["up_mb_s"], told["down_mb_s"], told["up_us_per_mb"], told["down_us_per_mb"]) > 0


def test_chunks_of_a_body() -> None:
    """131,072 bytes are one message, a byte more are two."""
    loads = [broker.Load(1, 1, size, broker.MQTT_3, 1) for size in (131_072, 131_073)]
    assert [load.chunks for load in loads] == [1, 2]


def test_help_shows_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """And the exit codes."""
    with pytest.raises(SystemExit):
        broker.main(["--help"])
    assert "python -m benchmarks.broker --profile" in capsys.readouterr().out
