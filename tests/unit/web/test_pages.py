"""The pages without a browser: texts, vendored files, policies, and who may see what."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from flask import Response
from flask.testing import FlaskClient

from speaker_tasks.apikeys import entry, new_key
from speaker_tasks.errors import SpeakerTasksError
from speaker_tasks.settings import Settings
from tests.conftest import ROOT
from web import create_app
from web.pages import demo
from web.pages.packing import pack
from web.pages.texts import LANGUAGES, service_texts, text, texts

PAGES = ROOT / "web" / "pages"
KEY = new_key()
BLANK = re.compile(r"\{\w+\}")
LOOKUP = re.compile(r"""\bt\(\s*["']([a-z_][a-z_0-9.-]*)["']""")
TEXT_LOOKUPS = re.compile(
    r"""["'`]((?:ask|layout|people|enroll|report|clip|diff|versions|jobs|meetings)\.[a-z_.]+)["'`]"""
)


@pytest.fixture
def client() -> FlaskClient:
    return create_app(Settings(redis_url="redis://127.0.0.1:1/0")).test_client()


@pytest.fixture
def locked() -> FlaskClient:
    keys = entry("reader", ["read"], KEY)
    return create_app(Settings(redis_url="redis://127.0.0.1:1/0", api_keys=keys)).test_client()


def sources() -> str:
    files = [*(PAGES / "templates").rglob("*.html"), *(PAGES / "static" / "js").rglob("*.js")]
    return "\n".join(path.read_text() for path in files)


def test_every_language_has_every_text_with_the_same_blanks() -> None:
    english = texts("en")
    for language in LANGUAGES:
        other = texts(language)
        assert list(other) == list(english)
        for name in english:
            assert blanks(other[name]) == blanks(english[name]), f"{language}: {name}"
            assert all(one.strip() for one in forms(other[name])), f"{language}: {name} is empty"


def test_what_the_service_says_is_translated_as_it_says_it() -> None:
    said = written("speaker_tasks", "enrollment", "banks", "web")
    for group in ("sentences", "versions"):
        texts_ = {english: BLANK.sub("\0", english) for english in groups()[group]}
        unsaid = [english for english, one in texts_.items() if not {one, one.removesuffix(": \0")} & said]
        assert unsaid == []


def test_entries_of_the_audit_log_are_translated_as_they_are_written(client: FlaskClient) -> None:
    adapter = client.application.url_map.bind("")
    for english in groups()["audit"]:
        method, _, path = BLANK.sub("x", english).partition(" ")
        if path.startswith("/"):
            adapter.match(path.partition("?")[0], method=method)  # raises for what is no address


def test_codes_of_errors_that_are_translated_are_codes() -> None:
    kinds = [SpeakerTasksError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert groups()["codes"].keys() <= {kind.code for kind in kinds}


def test_translations_of_the_service_have_the_blanks_of_the_english() -> None:
    for entries in groups().values():
        for english, translations in entries.items():
            for text_ in translations.values():
                assert blanks(text_) <= blanks(english), english
    assert service_texts("zh-TW")["sentences"].keys() == groups()["sentences"].keys()


def groups() -> dict[str, dict[str, dict[str, str]]]:
    return dict(json.loads((PAGES / "texts" / "service.json").read_text()))


def written(*packages: str) -> set[str]:
    """All texts of the code, with a NUL for what is filled in."""
    said = set()
    for package in packages:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    said.add(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                    said.add("".join(map(str, parts)))
    return said


def forms(found: Any) -> list[str]:
    return list(found.values()) if isinstance(found, dict) else [found]


def blanks(found: Any) -> set[str]:
    return {blank for one in forms(found) for blank in re.findall(r"\{(\w+)\}", one)}


def test_every_text_that_a_page_names_is_there_and_none_is_left_over() -> None:
    everything = sources()
    named = set(LOOKUP.findall(everything)) | set(TEXT_LOOKUPS.findall(everything))
    computed = ("nav.", "error.", "outcome.", "state.", "kind.", "queue.", "check.", "enroll.mode.", "layout.", "ask.")
    named = {name for name in named if not name.endswith((".js", ".html", "."))}
    assert named - set(texts("en")) == set()
    unused = {name for name in set(texts("en")) - named if not name.startswith(computed)}
    assert {name for name in unused if f'"{name}"' not in everything} == set()


def test_a_text_counts() -> None:
    assert text("en", "people.count", count=1) == "1 person"
    assert text("en", "people.count", count=3) == "3 people"
    assert text("zh-TW", "people.count", count=1) == "1 人"


@pytest.mark.parametrize("folder", [PAGES / "static" / "vendor", ROOT / "tests" / "browser" / "vendor"])
def test_vendored_files_are_those_of_the_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    listed = {file["file"]: file["sha256"] for package in manifest for file in package["files"]}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"manifest.json"}
    assert set(listed) == there
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    assert all(package["license"] and package["version"] for package in manifest)


def test_no_script_of_a_page_is_inline_and_no_address_is_foreign() -> None:
    for path in (PAGES / "templates").rglob("*.html"):
        markup = path.read_text()
        assert not re.search(r"<script(?![^>]*(src=|application/json))", markup), path
        assert not re.search(r"\son\w+=|style=", markup), path
    own = [*(PAGES / "static" / "js").rglob("*.js"), *(PAGES / "static" / "css").rglob("*.css")]
    for path in own:
        assert set(re.findall(r"https?://[^\"' ]+", path.read_text())) <= {"http://www.w3.org/2000/svg"}, path


@pytest.mark.parametrize("page", ["ask", "people", "enroll", "meetings", "jobs"])
def test_a_page_has_a_strict_policy(client: FlaskClient, page: str) -> None:
    answer = client.get(f"/{page}")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "en" in answer.text[:60]


def test_the_language_is_the_browsers_until_the_reader_chooses(client: FlaskClient) -> None:
    assert 'lang="zh-TW"' in client.get("/ask", headers={"Accept-Language": "zh-CN,en;q=0.5"}).text
    assert 'lang="en"' in client.get("/ask", headers={"Accept-Language": "fr"}).text
    client.set_cookie("speaker_language", "zh-TW")
    assert 'lang="zh-TW"' in client.get("/ask", headers={"Accept-Language": "en"}).text
    client.set_cookie("speaker_language", "<script>")
    assert 'lang="en"' in client.get("/ask", headers={"Accept-Language": "en"}).text


def test_a_program_is_led_to_the_description_and_a_browser_to_the_first_page(client: FlaskClient) -> None:
    assert client.get("/").headers["Location"] == "/docs"
    assert client.get("/", headers={"Accept": "*/*"}).headers["Location"] == "/docs"
    browser = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert browser.headers["Location"] == "/ask"


def test_a_service_with_keys_leads_to_the_sign_in(locked: FlaskClient) -> None:
    assert locked.get("/people").headers["Location"] == "/sign-in?next=people"
    for foreign in ("//evil.example/people", "http://["):
        page_ = locked.get("/sign-in", query_string={"next": foreign})
        assert page_.status_code == 200
        assert foreign not in page_.text
    assert locked.get("/pages/static/css/pages.css").status_code == 200
    wrong = locked.post("/sign-in", data={"key": "spk_wrong"})
    assert wrong.status_code == 401
    assert "not one of the service" in wrong.text
    assert "Set-Cookie" not in wrong.headers


def test_files_go_out_packed_to_who_takes_that_and_pages_with_a_secret_do_not(locked: FlaskClient) -> None:
    style = "/pages/static/css/pages.css"
    plain = locked.get(style, headers={"Accept-Encoding": "gzip;q=0"})
    packed = locked.get(style, headers={"Accept-Encoding": "gzip, br"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    again = locked.get(style, headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]})
    assert again.status_code == 304
    assert locked.get("/sign-in", headers={"Accept-Encoding": "gzip"}).headers["Content-Encoding"] == "gzip"
    with locked.application.test_request_context(headers={"Accept-Encoding": "gzip"}):
        secret = pack(Response("x" * 9000, mimetype="text/html"), secret=True)
    assert "Content-Encoding" not in secret.headers


def test_a_page_of_another_site_cannot_sign_anybody_in(locked: FlaskClient) -> None:
    foreign = locked.post("/sign-in", data={"key": KEY}, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403


def test_the_demos_archive_leaves_out_what_is_asked_with() -> None:
    assert len(demo.speakers()) == 8
    for name in demo.speakers():
        path = demo.recording(name)
        assert path is not None
        assert path.read_bytes()[:40] not in demo.archive() or path.read_bytes() not in demo.archive()
    assert demo.recording("../Alice") is None


def test_pages_stay_below_the_path_of_a_proxy() -> None:
    settings = Settings(redis_url="redis://127.0.0.1:1/0", path_prefix="/speaker")
    client = create_app(settings).test_client()
    page = client.get("/speaker/ask")
    assert page.status_code == 200
    assert 'data-base="/speaker"' in page.text
    links = re.findall(r'(?:href|src)="(/[^"]*)"', page.text)
    assert links
    assert all(link.startswith("/speaker/") for link in links)
    assert client.get("/speaker/", headers={"Accept": "text/html"}).headers["Location"] == "/speaker/ask"


def test_the_client_is_of_the_servers_version() -> None:
    files = (ROOT / "pyproject.toml", ROOT / "sdk" / "pyproject.toml")
    server, client = (tomllib.loads(file.read_text())["project"] for file in files)
    assert client["version"] == server["version"]
    assert set(client["dependencies"]) <= set(server["dependencies"])
