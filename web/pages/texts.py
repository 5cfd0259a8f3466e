"""The pages' texts in each language: `texts/<language>.json`, a flat object of dotted names.

A text is a string, or `{"one": ..., "other": ...}` where it counts something; `{name}` in it is filled. The pages'
modules get the same object and fill it in the same way (`static/js/text.js`).

What the service itself says is English; `texts/service.json` has the pages' words for what readers meet most
(`static/js/service.js`). A message that is not there is shown as it is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import orjson
from flask import Request

FOLDER = Path(__file__).parent / "texts"
LANGUAGES = {"en": "English", "zh-TW": "繁體中文"}
DEFAULT = "en"
COOKIE = "speaker_language"

Texts = dict[str, Any]


@cache
def texts(language: str) -> Texts:
    """All texts of a language."""
    catalogue: Texts = orjson.loads((FOLDER / f"{language}.json").read_bytes())
    return catalogue


@cache
def service_texts(language: str) -> dict[str, dict[str, str]]:
    """The service's messages, audit entries and error codes with their text in a language, where they have one."""
    groups: dict[str, dict[str, Texts]] = orjson.loads((FOLDER / "service.json").read_bytes())
    return {
        group: {english: forms[language] for english, forms in entries.items() if language in forms}
        for group, entries in groups.items()
    }


def language_of(request: Request) -> str:
    """The language that the reader chose by the button, else the browser's, else English.

    Any Chinese is answered in 繁體中文, which readers of the other script understand better than English.
    """
    chosen = request.cookies.get(COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    for wanted, _ in request.accept_languages:
        if wanted.lower().startswith("zh"):
            return "zh-TW"
        if wanted.lower().startswith("en"):
            return "en"
    return DEFAULT


def text(language: str, key: str, /, **values: object) -> str:
    """One text, filled. Raises `KeyError` for a name that no language has."""
    phrase = texts(language)[key]
    if isinstance(phrase, dict):
        phrase = phrase["one" if values.get("count") == 1 else "other"]
    for blank, value in values.items():
        phrase = phrase.replace(f"{{{blank}}}", str(value))
    return str(phrase)
