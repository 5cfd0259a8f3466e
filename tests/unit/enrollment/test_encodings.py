"""Names from Windows in Taiwan and China are read right or refused, never as others' characters."""

from __future__ import annotations

import pytest

from enrollment.encodings import codec, decoded
from speaker_tasks.errors import Malformed, Unusable

TAIWAN = [
    "陳怡君",
    "林志明",
    "王小明",
    "許功蓋",
    "黃淑芬",
    "張雅婷",
    "李宗翰",
    "吳佳穎",
    "蔡宜蓁",
    "楊承翰",
    "林一",
    "周杰倫",
]
CHINA = ["王伟", "李娜", "张伟", "刘洋", "陈静", "杨丽", "赵磊", "黄敏", "周杰", "吴秀英", "徐强", "林一"]


@pytest.mark.parametrize("name", ["陳怡君", "許功蓋", "王小明", "林志玲", "李宗翰", "蔡英文", "郭台銘", "謝霆鋒"])
def test_one_taiwanese_name_alone_is_read(name: str) -> None:
    assert decoded([name.encode("cp950")], "it") == [name]


@pytest.mark.parametrize("name", ["王小明", "李娜", "张伟", "刘德华", "陈建国", "黄晓明", "周杰伦", "毛元伟", "赵丽颖"])
def test_one_mainland_name_alone_is_read(name: str) -> None:
    assert decoded([name.encode("gb18030")], "it") == [name]


@pytest.mark.parametrize(("names", "encoding"), [(TAIWAN, "cp950"), (CHINA, "gb18030"), (TAIWAN, "gb18030")])
def test_several_names_are_read_together(names: list[str], encoding: str) -> None:
    assert decoded([name.encode(encoding) for name in names], "it") == names


@pytest.mark.parametrize("name", ["José", "Zoë", "Łukasz", "Иван", "Νίκος", "Nguyễn", "王五", "François/陳怡君", "Øe"])
def test_what_is_utf_8_stays_so(name: str) -> None:
    assert decoded([name.encode(), b"1.wav"], "it") == [name, "1.wav"]


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("陳", "cp950"),  # 朝 in GB 18030: one character tells nothing
        ("田中太郎", "shift_jis"),
        ("김철수", "euc-kr"),
        ("Müller", "cp1252"),
        ("Иван", "cp1251"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line_that_says_what_to_do(name: str, encoding: str) -> None:
    with pytest.raises(Unusable, match=r"^people\.csv is not UTF-8.*save it as UTF-8, or give its encoding.*cp950"):
        decoded([name.encode(encoding)], "people.csv")


@pytest.mark.parametrize(
    ("encoding", "texts"),
    [
        ("cp949", ["하영기"]),
        ("cp949", ["박연지", "백혜준"]),
        ("cp949", ["이름,파일\n박재연,a.wav\n조영자,b.wav\n이광민,c.wav"]),
        ("euc_jp", ["山崎博"]),
        ("euc_jp", ["斉藤陽子", "小林翔太", "中野蓮"]),
        ("euc_jp", ["森さくら"]),
        ("cp932", ["福田舞"]),
        ("koi8_r", ["Иванов"]),
        ("koi8_r", ["Степанов"]),
        ("cp1253", ["Γιώργος"]),
        ("cp874", ["สมชาย"]),
    ],
)
def test_names_of_other_countries_never_become_chinese_ones(encoding: str, texts: list[str]) -> None:
    data = [text.encode(encoding) for text in texts]
    with pytest.raises(Unusable, match="--encoding"):
        decoded(data, "it")
    assert decoded(data, "it", encoding) == texts


def test_a_name_that_is_written_often_is_no_more_sure() -> None:
    with pytest.raises(Unusable):
        decoded(["陳".encode("cp950")] * 100, "it")


def test_notes_with_signs_do_not_stand_in_the_way() -> None:
    text = "speaker,path,note\n陳怡君,錄音（上）.wav,「早上」 ★ 25℃ → 重錄\n王小明,b.wav,\n"
    assert decoded([text.encode("cp950")], "it") == [text]


@pytest.mark.parametrize(("given", "encoding"), [("big5", "cp950"), ("GBK", "gb18030"), ("cp1252", "cp1252")])
def test_a_given_encoding_is_taken_and_read_as_windows_writes_it(given: str, encoding: str) -> None:
    text = "碁" if encoding == "cp950" else "é"
    assert decoded([text.encode(encoding)], "it", given) == [text]


def test_a_given_encoding_that_does_not_fit_or_that_there_is_not_is_told() -> None:
    with pytest.raises(Unusable, match="cannot be read as cp950"):
        decoded([b"\xff\xff"], "it", "cp950")
    for name in ("klingon", "zip", "a\0b", ""):
        with pytest.raises(Malformed, match="no encoding"):
            codec(name)
