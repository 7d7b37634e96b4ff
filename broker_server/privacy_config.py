"""The table [privacy] of a configuration, and which other settings would break what it promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from broker_server.config import GatewayConfig

LEAST_MASKED: Final = 0.01
MOST_MASKED: Final = 64.0
"""Of noise that devices add to integers."""


@dataclass(frozen=True)
class PrivacyTable:
    """Differential privacy of devices (docs/security.md says what it covers, and what not).

    Args:
        enabled: cut each device's update to a norm, count all alike, and add noise to the sum of each merge. It wants
            limits.norm_factor = 0, round.max_staleness = 0, round.buffer = 0, and a state directory that began with it.
            With secure.enabled devices cut and add noise themselves, before masks: the gateway sees noised sums alone.
        clip: norm that a device's whole update, over all of its blocks, is cut to when it is longer.
        noise: standard deviation of the noise, as a multiple of clip.
        epsilon: the budget; the gateway merges no more when one more merge would be beyond it.
        delta: chance that is left out of the promise; well below one over the number of devices.
        class_noise: standard deviation of the noise of class sums, whose norm is cut to 1: they are released once, with
            the first round; 0: devices are not asked for them, and the head has to be trained (train.head_share).
    """

    enabled: bool = False
    clip: float = 1.0
    noise: float = 1.0
    epsilon: float = 8.0
    delta: float = 1e-5
    class_noise: float = 0.0

    def fault(self) -> str:
        """Return what is wrong with the values, for people; "" when nothing is."""
        for name in ("clip", "noise", "epsilon"):
            if not 0 < getattr(self, name) <= 1e6:
                return f"privacy.{name} {getattr(self, name)}, expected more than 0"
        if not 0 <= self.class_noise <= 1e6:
            return f"privacy.class_noise {self.class_noise}, expected 0 or more"
        return "" if 0 < self.delta < 1 else f"privacy.delta {self.delta}, expected more than 0 and less than 1"


def conflict(config: GatewayConfig) -> str:
    """Return which setting goes against [privacy], what it does, and what to do; "" when none does."""
    if not config.privacy.enabled:
        return ""
    against = {
        "limits.norm_factor = 0: a device would be refused by what others sent": config.limits.norm_factor != 0,
        "round.max_staleness = 0: a device would be in a merge more than once": config.round.max_staleness != 0,
        "round.buffer = 0: a device that is quick would be in a merge more than once": config.round.buffer != 0,
        "robust.enabled = false: no noise hides one device in a median, or in who is left out": config.robust.enabled,
    }
    if config.secure.enabled:
        against |= {
            f"privacy.noise of {LEAST_MASKED:g} to {MOST_MASKED:g} with [secure]: integers hold no other": not (
                LEAST_MASKED <= config.privacy.noise <= MOST_MASKED
            ),
            "privacy.class_noise = 0 and class_sums = 'no' with [secure]: class sums get no noise at devices": bool(
                config.privacy.class_noise or config.secure.class_sums != "no"
            ),
        }
    wanted = [text for text, broken in against.items() if broken]
    return f"privacy.enabled wants {'; '.join(wanted)}" if wanted else ""
