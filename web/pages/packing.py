"""Pages and their files go out packed: they are text, of which gzip leaves a third."""

from __future__ import annotations

import gzip
from functools import lru_cache

from flask import Response, request

KINDS = frozenset({"text/css", "text/html", "text/javascript", "application/javascript", "image/svg+xml"})
LEAST = 500
"""Bytes below which packing does not pay."""
_pack = lru_cache(maxsize=128)(gzip.compress)


def pack(response: Response, *, secret: bool) -> Response:
    """The response, packed if its reader takes that. A body with a secret is not: its length would tell of it."""
    response.vary.add("Accept-Encoding")
    packs = response.mimetype in KINDS and response.status_code == 200 and not secret
    if not packs or not request.accept_encodings["gzip"]:
        return response
    response.direct_passthrough = False
    body = response.get_data()
    if len(body) >= LEAST:
        tag, _ = response.get_etag()
        response.set_data(_pack(body) if tag else gzip.compress(body))
        response.headers["Content-Encoding"] = "gzip"
        if tag:
            response.set_etag(tag, weak=True)
    return response
