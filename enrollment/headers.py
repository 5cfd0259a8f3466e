"""What people call the columns of a list of recordings, in English and Chinese."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from enrollment.manifest import clean_cell
from enrollment.report import Outcome, Reason


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SPEAKERS = _words(
    "speaker speakers name fullname speakername who person people employee staff student member "
    "说话人 說話人 说话者 說話者 发言人 發言人 发言者 發言者 语者 語者 讲者 講者 姓名 名字 人名 人员 人員 "
    "员工 員工 员工姓名 員工姓名 学生 學生 成员 成員"
)
FILES = _words(
    "path file files filename filepath recording recordings record rec audio audiofile wav wave wavfile clip clips "
    "sound soundfile 录音 錄音 录音名 錄音名 录音文件 錄音檔 录音档 錄音檔案 錄音檔名 音频 音訊 音频文件 音檔 音檔名 "
    "语音 語音 文件 文件名 檔名 檔案 檔案名 檔案名稱 文件名称 路径 路徑 檔案路徑 文件路径"
)
STARTS = _words("start begin starttime 开始 開始 开始时间 開始時間 起 起始")
ENDS = _words("end until stop endtime 结束 結束 结束时间 結束時間 迄 终止 終止")
HEADERS = SPEAKERS | FILES | _words("voice label id no number 编号 編號 序号 序號 名称 名稱")
"""What the header of a recording's or a speaker's column is called; a header of other words is named in the report."""

ADVISED = _words("speaker file 姓名 檔案")


def plain(header: str) -> str:
    """A header without case, spaces and signs: `File name` is `filename`."""
    return "".join(letter for letter in clean_cell(header).casefold() if letter.isalnum())


def column(header: Sequence[str], words: Collection[str]) -> int | None:
    """The index of the one column that is called by one of the words; None if there is none, or more than one.

    Of several, the one that is called as our messages advise.
    """
    found = [index for index, text in enumerate(header) if plain(text) in words]
    if len(found) > 1:
        found = [index for index in found if plain(header[index]) in ADVISED]
    return found[0] if len(found) == 1 else None


def is_unclear(header: Sequence[str], words: Collection[str]) -> bool:
    """Whether several columns are called by the words, and none of them as our messages advise."""
    return column(header, words) is None and any(plain(text) in words for text in header)


def note(speaker: str, recording: str, times: Sequence[str], row: str) -> Outcome:
    """What the report says of columns that were found by words that people use for them."""
    message = f"read as a list: the people are in the column {speaker!r}, the recordings in {recording!r}"
    if times:
        message = (
            f"read as a list: the people are in the column {speaker!r}, the recordings in {recording!r}, "
            f"and of these only the seconds that {', '.join(times)} say"
        )
    return Outcome("", "", Reason.HEADER, message, row)
