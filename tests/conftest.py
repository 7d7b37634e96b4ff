"""Settings that every test shares."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No time limits: the machine is shared. The same examples in every run: a failure is found again.
settings.register_profile(
    "shared", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared")
