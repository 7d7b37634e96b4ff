"""Imported by the process that workers are forked from before anything else: it silences notes between libraries.

One library prints a note to the developers of another at every start; it says nothing to a user.
"""

from __future__ import annotations

import logging

logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
