"""QR codes (ISO/IEC 18004) of an enrolment, for a phone's camera. The only file importing segno."""

from __future__ import annotations

import io
from typing import Final

import segno

LIMIT: Final = 2953
"""Bytes in the largest QR code, version 40 with error correction L."""
_BLACK_ON_WHITE: Final = "\033[38;5;16;48;5;231m"
_RESET: Final = "\033[0m"
_PIXELS: Final = 5
_BORDER: Final = 4
"""Modules of quiet zone, as the standard asks for."""


class QrCode:
    """A QR code of some bytes. Args: data: at most LIMIT bytes."""

    def __init__(self, data: bytes) -> None:
        self._code = segno.make_qr(data, error="l", mode="byte", boost_error=False)

    @property
    def columns(self) -> int:
        """Return how many characters a line of ``terminal`` has."""
        return int(self._code.symbol_size(border=_BORDER)[0])

    def png(self) -> bytes:
        """Return an image, black on white."""
        file = io.BytesIO()
        self._code.save(file, kind="png", scale=_PIXELS, border=_BORDER)
        return file.getvalue()

    def terminal(self) -> str:
        """Return lines for a terminal, two rows of modules in each, black on white whatever its colours are."""
        rows = [[bool(module) for module in row] for row in self._code.matrix_iter(border=_BORDER)]
        rows += [[False] * len(rows[0])] * (len(rows) % 2)
        lines = ["".join(map(_half_blocks, *pair)) for pair in zip(rows[::2], rows[1::2], strict=True)]
        return "".join(f"{_BLACK_ON_WHITE}{line}{_RESET}\n" for line in lines)


def _half_blocks(*dark: bool) -> str:
    return {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}[dark[0], dark[1]]
