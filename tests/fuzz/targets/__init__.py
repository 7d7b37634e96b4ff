"""Every decoder that is fuzzed, by name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import device, documents, files, gateway, messages, mqtt, rounds, state

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (messages, documents, files, device, gateway, mqtt, rounds, state)
    for target in module.targets()
}
