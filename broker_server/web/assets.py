"""The style sheet, the script and the icon: read once, so that no path of a request ever reaches the disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

FOLDER: Final = Path(__file__).parent / "static"
TYPES: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
DAY_S: Final = 86_400


class Assets:
    """What a page loads beside itself."""

    def __init__(self) -> None:
        self._bytes = {name: (FOLDER / name).read_bytes() for name in TYPES}

    def address(self, name: str) -> str:
        """Return the address of a file, which changes with what is in it."""
        return f"/static/{name}?{hashlib.sha256(self._bytes[name]).hexdigest()[:12]}"

    async def answer(self, request: Request) -> Response:
        """Send a file."""
        name = request.path_params["name"]
        if name not in self._bytes:
            raise HTTPException(404)
        return Response(self._bytes[name], media_type=TYPES[name], headers={"Cache-Control": f"max-age={DAY_S}"})
