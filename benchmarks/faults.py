r"""A fault campaign: what users see while processes die, stop, and Redis is away, full, or refuses.

    python -m benchmarks.faults [--faults 200] [--json FILE]                  everything, in half an hour
    python -m benchmarks.faults --stacks embedded --faults 20                 kill -9 of any child of `up`
    python -m benchmarks.faults --stacks sentinels --faults 10 --every 12     failovers, planned and by kill -9
    python -m benchmarks.faults --stacks linked --only full,misconf,readonly,noperm,wrong-password --faults 5 \
        --refused 60                                                          a minute of each refusal

Starts `speaker-tasks up` with two workers and Flower. Clients ask who speaks on clips of the demo's voices whose
answers are known, leave questions and a meeting's timelines behind (202), and enroll all the time; every `--every`
seconds something fails, at random. After each `--round` faults every job that was accepted meanwhile has to end with
the right answer, without anybody's help. Prints one table; its figures are of the machine that it runs on.

Of three kinds of stack, one after the other, eight tenths of the faults befall the first, a tenth each of the others:

- linked, on a server of its own behind a link: kill-worker, kill-web (the process that binds), kill-web-child,
  kill-flower, kill-server (started again after a second, as a service manager does), stop-worker and stop-server
  (SIGSTOP for `--stopped` seconds); for `--refused` seconds full (maxmemory), misconf (it cannot save), readonly (it is
  a replica), noperm, wrong-password, partition (the link is cut), and, with `--disk` as root, full-disk (the server's
  folder is on a small tmpfs, which is filled);
- embedded: the same deaths, that of the server that `up` runs among them;
- sentinels: failover (planned) and kill-master, of three servers with `min-replicas-to-write 1`.

With `--json` each round is written down when it is over. The same command goes on from there if it was ended.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.failing.clients import prepare
from benchmarks.failing.kinds import Lengths, faults
from benchmarks.failing.rounds import Campaign, Happened, Round
from benchmarks.failing.stack import campaign

SHARES = {"linked": 8, "embedded": 1, "sentinels": 1}


def planned(options: argparse.Namespace, done: list[Round]) -> dict[str, int]:
    """How many faults are left to be caused, by the kind of stack."""
    kinds = options.stacks.split(",")
    whole = sum(SHARES[kind] for kind in kinds)
    happened = Counter(round_.stack for round_ in done for _ in round_.faults)
    return {kind: options.faults * SHARES[kind] // whole - happened[kind] for kind in kinds}


def run(options: argparse.Namespace, console: Console) -> list[Round]:
    """All rounds, those that an earlier run wrote down among them."""
    done = [Round(**one) for one in json.loads(options.json.read_text())] if is_file(options.json) else []
    until = time.monotonic() + 60 * options.minutes
    for kind, number in planned(options, done).items():
        if number <= 0:
            continue
        for figures in rounds_of(kind, number, options, console, seed=options.seed + len(done)):
            done.append(figures)
            console.print(f"{kind}: {len(figures.faults)} faults, bad: {figures.bad or 'none'}")
            if options.json:
                options.json.write_text(json.dumps([asdict(one) for one in done], indent=1))
            if time.monotonic() > until or figures.up_ended:
                return done
    return done


def rounds_of(kind: str, left: int, options: argparse.Namespace, console: Console, *, seed: int) -> Iterator[Round]:
    """So many faults on a stack of that kind, in rounds."""
    with tempfile.TemporaryDirectory(prefix="speaker-faults-") as temporary:
        folder = (options.keep or Path(temporary)) / f"{kind}-{seed}"
        folder.mkdir(parents=True)
        with campaign(kind, folder, disk=options.disk, replicas=not options.alone) as stack:
            named = faults(stack, Lengths(options.refused, options.stopped))
            chosen = set(options.only.split(",")) & set(named) if options.only else set(named)
            running = Campaign(kind, stack, prepare(stack), {name: named[name] for name in sorted(chosen)}, seed)
            time.sleep(3)
            for number in [options.round] * (left // options.round) + [left % options.round] * (
                left % options.round > 0
            ):
                yield running.run(number, options.every, lambda one: show_one(one, console))
            running.clients.stop()


def is_file(path: Path | None) -> bool:
    """Whether there is one."""
    return path is not None and path.is_file()


def show_one(happened: Happened, console: Console) -> None:
    """A fault as one line."""
    console.print(
        f"{time.strftime('%H:%M:%S')} {happened.name}: longest gap {happened.gap:.1f} s, "
        f"answered again after {happened.resumed:.1f} s, ready after {happened.ready:.1f} s"
        + ("" if happened.workers_stayed else "; A WORKER ENDED")
    )


def show(rounds: list[Round], console: Console) -> None:
    """All figures as a table and some lines."""
    table = Table("fault", "times", "longest gap, s", "answered again", "ready again", "ready in vain", "no 200")
    happened = [Happened(**one) for round_ in rounds for one in round_.faults]
    for name in sorted({one.name for one in happened}):
        of_kind = [one for one in happened if one.name == name]
        others = total(round_.by_fault.get(name, {}) for round_ in rounds)
        listed = ", ".join(f"{count} x {one}" for one, count in sorted(others.items()) if one != "200") or "none"
        longest = [max(getattr(one, figure) for one in of_kind) for figure in ("gap", "resumed", "ready", "claimed")]
        table.add_row(name, str(len(of_kind)), *(f"{one:.1f}" for one in longest), listed)
    console.print(table)
    answers = total(round_.answers for round_ in rounds)
    accepted = total(round_.accepted for round_ in rounds)
    bad = total({name: len(jobs) for name, jobs in round_.bad.items()} for round_ in rounds)
    console.print(
        f"{len(happened)} faults; {answers['200']} answers, {sum(len(one.wrong) for one in rounds)} of them wrong"
    )
    console.print(
        f"jobs that nobody waited for: {', '.join(f'{count} {name}' for name, count in accepted.items())}; "
        f"{', '.join(f'{count} {name}' for name, count in bad.items()) or 'each ended as it should'}; "
        f"{sum(len(one.duplicated) for one in rounds)} ended twice"
    )
    refused = {one: count for one, count in sorted(answers.items()) if one.startswith("5")}
    console.print(f"5xx: {', '.join(f'{count} x {one}' for one, count in refused.items()) or 'none'}")
    if any(not one.workers_stayed for one in happened):
        console.print("a worker ended that should have stayed")
    if any(one.up_ended for one in rounds):
        console.print("`up` ended")


def total(counts: Iterable[dict[str, int]]) -> Counter[str]:
    """The sum of several counts."""
    whole: Counter[str] = Counter()
    for one in counts:
        whole.update(one)
    return whole


def failed(rounds: list[Round]) -> bool:
    """Whether anything was lost or wrong, or needed somebody's help."""
    return any(
        round_.bad
        or round_.wrong
        or round_.duplicated
        or round_.up_ended
        or not all(one["workers_stayed"] for one in round_.faults)
        or any(one.startswith("500") for one in round_.answers)
        for round_ in rounds
    )


def main() -> None:
    """Run a campaign, print its table; exit status 1 if something was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60, help="no round begins later")
    parser.add_argument("--every", type=float, default=4, help="seconds from one fault to the next, at least")
    parser.add_argument("--round", type=int, default=20, help="faults after which the jobs are looked at")
    parser.add_argument("--stacks", default=",".join(SHARES), help="these kinds, separated by commas")
    parser.add_argument("--only", default="", help="these faults, separated by commas")
    parser.add_argument("--refused", type=float, default=Lengths.refused, help="seconds that Redis is away or refuses")
    parser.add_argument("--stopped", type=float, default=Lengths.stopped, help="seconds that a process is stopped")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    parser.add_argument("--disk", action="store_true", help="also a full disk; as root")
    parser.add_argument("--alone", action="store_true", help="sentinels as they come, with one replica: jobs get lost")
    parser.add_argument("--json", type=Path, help="where figures are kept, and an earlier run's are")
    parser.add_argument("--keep", type=Path, help="keep logs and data in this folder")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 180)
    console.print(f"seed {options.seed}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped
    rounds = run(options, console)
    show(rounds, console)
    sys.exit(int(failed(rounds)))


if __name__ == "__main__":
    main()
