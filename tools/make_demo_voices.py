"""Makes the demo's synthetic speakers in `banks/demo/speakers` with espeak-ng (`apt-get install espeak-ng`).

Users need neither this script nor espeak-ng: the clips are committed. Each voice is an espeak-ng variant with a pitch
and a rate of its own; `scale` then plays it faster or slower, which moves pitch and formants together, as a shorter or
longer vocal tract does.

    python tools/make_demo_voices.py [FOLDER]
"""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

DEMO = Path(__file__).resolve().parents[1] / "banks" / "demo"
RATE = 16_000
PEAK = 0.6
SECONDS = (3.0, 6.0)
PAUSE_SECONDS = 0.15
OPUS_COMPRESSION = 0.9
"""libsndfile's scale from 0 (256 kbit/s a channel) to 1 (6 kbit/s); 0.9 is 31 kbit/s."""


@dataclass(frozen=True)
class Voice:
    """One synthetic speaker: espeak-ng's voice, pitch (0 to 99) and words a minute; `scale` of the playing speed."""

    name: str
    espeak: str
    pitch: int
    rate: int
    scale: float


VOICES = (
    Voice("李明", "cmn-latn-pinyin+Marco", 25, 260, 0.88),
    Voice("王芳", "cmn-latn-pinyin+f2", 60, 240, 1.06),
    Voice("赵磊", "cmn-latn-pinyin+klatt2", 40, 250, 0.96),
    Voice("陈静", "cmn-latn-pinyin+Annie", 75, 220, 1.16),
    Voice("Alice", "en-us+f4", 65, 160, 1.10),
    Voice("Brian", "en-gb+m1", 20, 150, 0.86),
    Voice("Carol", "en-us+steph", 45, 165, 0.98),
    Voice("David", "en-gb-scotland+m5", 50, 165, 1.04),
)

MANDARIN = (
    "今天的会议主要讨论三个问题，请大家先看一下材料。",
    "明天上午九点我们在三楼的会议室见面，请不要迟到。",
    "这个项目已经进行了半年，下个月就可以交付使用。",
    "北京的秋天很美，天空很蓝，树叶都变成了金黄色。",
    "请把昨天的录音整理好，然后发到大家的邮箱里。",
    "我觉得这个方案不错，不过预算还需要再讨论一下。",
    "火车晚点了二十分钟，所以我没有赶上第一场报告。",
    "新的系统上线以后，处理速度比原来快了五倍左右。",
    "周末我打算带孩子去公园，顺便看看那里的展览。",
    "他从小就喜欢听收音机，后来成了一名播音员。",
    "医生建议他每天散步半个小时，晚上早一点休息。",
    "这本书我看了两遍，每一次都有新的收获和想法。",
    "我们需要更多的数据，才能得出比较可靠的结论。",
    "外面下着大雨，路上的车很多，大家开车要小心。",
    "下面请财务部的同事介绍一下第三季度的情况。",
    "老师告诉我们，学习语言最重要的是坚持和练习。",
    "他说话的声音很有特点，一听就知道是他本人。",
    "餐厅在二楼的左边，午饭时间是十二点到一点半。",
    "如果没有别的问题，今天的会议就先到这里结束。",
    "飞机下午四点起飞，我们两点以前要到达机场。",
)

ENGLISH = (
    "Good morning everyone, let us begin with the results of the last quarter.",
    "The meeting has been moved to Thursday at ten, in the large room upstairs.",
    "We collected about forty hours of recordings from the conference last year.",
    "Please send me the final version of the report before the end of the day.",
    "The train was late again, so I missed most of the opening presentation.",
    "I think the proposal is sound, but the budget needs another careful look.",
    "Our new office is close to the river, with a pleasant view of the bridge.",
    "She walked along the beach every morning before the rest of us woke up.",
    "The weather should improve by the weekend, with sunshine in the afternoon.",
    "Nobody expected the old machine to run for another fifteen years.",
    "If you have any questions, raise your hand and wait for the microphone.",
    "The children were playing in the garden while their parents made dinner.",
    "It took us three attempts to find a voice that everybody could agree on.",
    "He opened the window, listened for a moment, and closed it quietly again.",
    "The second experiment confirmed what we had seen during the first one.",
    "There is a small bakery around the corner that sells wonderful bread.",
    "Thank you for joining us today, and I hope to see you all next month.",
    "The library closes at eight, but the reading room stays open until ten.",
    "Most of the volunteers answered the telephone within the first minute.",
    "A good microphone matters less than a quiet room and a clear voice.",
)

CLIPS = 5


def main(folder: Path) -> None:
    """Write every clip."""
    spoken = {"cmn": 0, "en": 0}
    for voice in VOICES:
        language = "cmn" if voice.espeak.startswith("cmn") else "en"
        texts = MANDARIN if language == "cmn" else ENGLISH
        for number in range(1, CLIPS + 1):
            samples = speak(voice, texts[spoken[language]])
            spoken[language] += 1
            write(folder / "speakers" / voice.name / f"{number}.ogg", samples)


def speak(voice: Voice, text: str) -> np.ndarray:
    """`text` in the voice: (T,) float32 mono at 16 kHz, peak 0.6. Raises ValueError if it is not 3 to 6 s long."""
    command = ["espeak-ng", "-v", voice.espeak, "-p", str(voice.pitch), "-s", str(voice.rate), "--stdout", text]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    samples = soxr.resample(trimmed(samples), rate * voice.scale, RATE)
    samples = np.pad(samples, round(PAUSE_SECONDS * RATE))
    if not SECONDS[0] <= samples.size / RATE <= SECONDS[1]:
        raise ValueError(f"{voice.name}: {samples.size / RATE:.1f} s for {text!r}, wanted {SECONDS}")
    return samples * (PEAK / np.abs(samples).max())


def trimmed(samples: np.ndarray) -> np.ndarray:
    """The samples without silence at either end."""
    (loud,) = np.nonzero(np.abs(samples) > 0.01)
    return samples[loud[0] : loud[-1] + 1]


def write(path: Path, samples: np.ndarray) -> None:
    """One Ogg Opus file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, format="OGG", subtype="OPUS", compression_level=OPUS_COMPRESSION)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO)
