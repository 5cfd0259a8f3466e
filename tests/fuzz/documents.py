"""Workbooks, tables, dictionaries, RTTM files, bank files, archives and JSON bodies that were changed by chance."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import zipfile
from functools import cache
from typing import Any

import numpy as np
import openpyxl
import xlwt
from hypothesis import strategies as st

from tests.fuzz.mutations import Draw, Input, mutated, mutated_zip
from tests.fuzz.recordings import whole

XML = (
    *(b'r="XFD1048576"', b'r="A200000"', b'<mergeCell ref="A1:XFD1048576"/>', b"</row>", b'<row r="2">', b"<f>1+1</f>"),
    *(
        b'<c r="F2" t="s"><v>99999999</v></c>',
        b"<v>1e308</v>",
        b"_x000D_",
        b"&#x1F600;",
        b"&lol;",
        b'count="4294967295"',
    ),
    *(b'<!DOCTYPE a [<!ENTITY b "c">]>', b't="inlineStr"', b's="65535"', b"<sheet name='x' sheetId='9' r:id='rId1'/>"),
)
TEXT = (
    *(b",", b";", b"\t", b'"', b"\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"sep=|\n", b"\xa4\xa4\xa4\xe5", b"\x00", b"../"),
    *(b"0,5", b"-1", b"nan", b"1e400", b"\xe2\x80\x8b", b"_x000D_", b"/etc/passwd", b"C:\\", b"a" * 5000, b"\n" * 5000),
)
JSON = (
    *(b"[" * 3000, b"{" * 3000, b"NaN", b"1e999", b"null", b'{"a":', b'"\\ud800"', b"9" * 500, b"[]," * 3000, b"true"),
    *(b'"speaker"', b'"samples"', b'"rate"', b'"path"', b'"../x"', b"-0.0", b"\\u0000", b"\xff"),
)


@st.composite
def workbooks(draw: Draw) -> bytes:
    """A workbook of either kind."""
    if draw(st.integers(0, 3)):
        return mutated_zip(draw, _xlsx(), XML)
    return mutated(draw, _xls(), (b"\x09\x08\x10\x00", b"\xff\xff\xff\xff", b"\xfc\x00"))


@st.composite
def tables(draw: Draw) -> bytes:
    """A CSV table, in some encoding."""
    text = "speaker,path,start,end\n" + "".join(f"{name},D/{n}.wav,{n},{n + 1.5}\n" for n, name in enumerate(_NAMES))
    codec = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]))
    separator = draw(st.sampled_from([",", ";", "\t"]))
    return mutated(draw, text.replace(",", separator).encode(codec), TEXT)


@st.composite
def dictionaries(draw: Draw) -> bytes:
    """A JSON dictionary of speakers."""
    good = json.dumps({name: [f"D/{n}.wav", f"D/{n}b.wav"] for n, name in enumerate(_NAMES)}, ensure_ascii=False)
    if draw(st.booleans()):
        return Input(json.dumps(draw(_VALUES)).encode())
    return mutated(draw, good.encode(), JSON + TEXT)


@st.composite
def segments(draw: Draw) -> bytes:
    """An RTTM file."""
    line = "SPEAKER m 1 {:.2f} 2.0 <NA> <NA> {} <NA> <NA>\n"
    text = "".join(line.format(2.0 * n, name.replace(" ", "_")) for n, name in enumerate(_NAMES))
    return mutated(draw, text.encode(), (*TEXT, b" ", b"SPEAKER_00", b"SPEAKER", b"<NA>"))


@st.composite
def bank_files(draw: Draw) -> bytes:
    """An npz file of a bank, old or new."""
    header = (b"'descr': '|O'", b"(99999999999,)", b"(2, 1000000)", b"True", b"[" * 500, b"(" * 500, b"NUMPY")
    card = (b'"clips"', b"payload:speaker:audit", b"4294967295", b'"aliases"', *JSON)
    return mutated_zip(draw, _npz(draw(st.booleans())), (*header, *card))


@st.composite
def archives(draw: Draw) -> bytes:
    """A zip or tar of speakers' folders."""
    if draw(st.booleans()):
        return mutated_zip(draw, _zip(), (b"../", b"/", b"\0", b"speakers/Alice/1.wav"))
    return mutated(draw, _tar(draw(st.sampled_from(["", "gz"]))), (b"../", b"ustar", b"2", b"7777777", b"\0" * 512))


@st.composite
def bodies(draw: Draw) -> bytes:
    """A JSON body for any endpoint."""
    good = draw(
        st.sampled_from(
            [
                {"speaker": [0.1, -0.1] * 4000},
                {"samples": [0.1, -0.1] * 4000, "rate": 16000},
                {"audio": base64.b64encode(whole("OGG", 1.0)).decode()},
                {"path": "/data/x.wav"},
                {"path": "/data/x.csv", "options": {"encoding": "cp950", "skip_last": 2}},
                {"name": "x", "union_of": ["a", "b"]},
                {"feats": [[0.1] * 512], "label": ["a"]},
            ]
        )
    )
    match draw(st.integers(0, 2)):
        case 0:
            return Input(json.dumps(good | {draw(st.sampled_from(sorted(good))): draw(_VALUES)}).encode())
        case 1:
            return Input(json.dumps(draw(_VALUES)).encode())
    return mutated(draw, json.dumps(good).encode(), JSON)


_NAMES = ("Alice", "林怡", "Zoë", "张 三")
_LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["", "../x", "\0", "a" * 9000]),
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=12), inner, max_size=6)),
    max_leaves=20,
)


@cache
def _xlsx() -> bytes:
    book = openpyxl.Workbook()
    day = book.active
    day.title = "D1"
    day.append(["rec", "b", "c", "d", "e", "speaker"])
    for number, name in enumerate(_NAMES, 1):
        day.append([f"{number:04d}", 1, 2.5, None, 4, name])
    day.merge_cells("F4:F5")
    day["A3"].number_format = "0000"
    book.create_sheet("stats")
    book.create_sheet("notes")
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


@cache
def _xls() -> bytes:
    book = xlwt.Workbook()
    for title in ("D1", "stats", "notes"):
        sheet = book.add_sheet(title)
        for row, name in enumerate(("speaker", *_NAMES)):
            sheet.write(row, 0, f"{row:04d}")
            sheet.write(row, 5, name)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


@cache
def _npz(with_card: bool) -> bytes:
    rng, file = np.random.default_rng(0), io.BytesIO()
    arrays: dict[str, np.ndarray] = {"label": np.array(_NAMES), "train_feats": rng.normal(size=(4, 512))}
    if with_card:
        card = {"format": 2, "model": "compact-x", "clips": {"paths": ["a", "b"]}, "aliases": {"Al": "Alice"}}
        arrays["card"] = np.frombuffer(json.dumps(card).encode(), np.uint8)
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _files() -> dict[str, bytes]:
    return {f"speakers/{name}/{n}.ogg": whole("OGG", 1.0) for name in _NAMES for n in range(2)}


@cache
def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in _files().items():
            made.writestr(name, content)
    return file.getvalue()


@cache
def _tar(packed: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{packed}") as made:  # type: ignore[call-overload]
        for name, content in _files().items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return file.getvalue()
