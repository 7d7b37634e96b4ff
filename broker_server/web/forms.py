"""Forms as browsers send them: small, urlencoded, from our own pages."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

FORM_BYTES: Final = 4096
FIELDS: Final = 8
TYPE: Final = "application/x-www-form-urlencoded"


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form that came from a page of this origin.

    Raises:
        HTTPException: 403 from elsewhere, 413 for one that is too large, 400 or 415 for anything else.
    """
    check_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != TYPE:
        raise HTTPException(415, f"expected {TYPE}")
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > FORM_BYTES:
                raise HTTPException(413, f"expected a form of at most {FORM_BYTES} bytes")
    except ClientDisconnect as error:
        raise HTTPException(400, "the form was not sent whole") from error
    try:
        fields = parse_qs(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=FIELDS
        )
    except ValueError as error:
        raise HTTPException(400, "the form cannot be read") from error
    return {name: values[0] for name, values in fields.items()}


def check_origin(request: Request) -> None:
    """Refuse what a page elsewhere made a browser send; programs send neither header.

    Raises:
        HTTPException: 403.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "forms are taken from this page only")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower():
        raise HTTPException(403, "forms are taken from this page only")
