"""What can go wrong while building for Android."""

from __future__ import annotations


class BuildError(RuntimeError):
    """A build for Android cannot go on; the text says what is missing or wrong, and what to do."""
