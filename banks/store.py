"""Banks in Redis: each change writes a new version under keys of its own, then moves the bank's pointer in one step.

Keys (`{prefix}` is `speaker:`):

    {prefix}banks                  set of the names of banks
    {prefix}banks:token            counter; moves with every change to any bank or to the mode
    {prefix}bank:<name>            the pointer: JSON, the kept versions, newest first
    {prefix}bank:<name>:clips      hash, clip key and model -> raw float32: shared by all versions, never changed
    {prefix}bank:<name>:clipinfo   hash, clip key and model -> JSON: seconds, weight, path, span
    {prefix}bank:<name>:cohort     the bank whose speakers its scores are normalised with (AS-norm)
    {prefix}bankdata:<id>:rows     JSON: labels, counts, seconds
    {prefix}bankdata:<id>:vectors  raw float32, at most `PART_ROWS` rows a key (`:vectors:1`, ... follow)
    {prefix}bankdata:<id>:clips    JSON: for each row, the keys of its clips

Data is written before the pointer moves, with a time to live that the transaction takes away: a writer that dies half
way leaves the old version serving and nothing behind. Two writers cannot lose each other's change: the pointer is
watched, and the second gets `Conflict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from redis import Redis, WatchError
from redis.client import Pipeline

from banks.bank import Bank
from banks.clipkeys import known_keys, stale_clips
from banks.names import ALIASES, ALL
from banks.version import Version, earlier, later, read_versions, write_versions
from banks.versiondata import VersionData
from speaker_tasks.errors import Conflict, NotFound, Unusable

KEEP_VERSIONS = 5


class BankStore:
    """The banks of one Redis server. All reads are of one version; all changes are atomic."""

    def __init__(self, redis: Redis, *, prefix: str = "speaker:", keep: int = KEEP_VERSIONS) -> None:
        self.redis, self.prefix, self.keep = redis, prefix, max(1, keep)
        self.token_key = f"{prefix}banks:token"
        self._names_key = f"{prefix}banks"
        self._data = VersionData(redis, prefix)

    # Reading

    def names(self) -> list[str]:
        """The names of all banks, sorted."""
        return sorted(name.decode() for name in self.redis.smembers(self._names_key))  # type: ignore[union-attr]

    def history(self, name: str) -> list[Version]:
        """The kept versions of a bank, newest first. Raises `NotFound`, with the names there are."""
        versions = read_versions(self.redis.get(self._pointer_key(name)))
        if not versions:
            names = self.names()
            raise NotFound(f"there is no bank {name!r}; there is {', '.join(names) or 'none yet'}", known=names)
        return versions

    def version(self, name: str) -> int:
        """The bank's current version number. Raises `NotFound`."""
        return self.history(name)[0].version

    def get(self, name: str, *, version: int | None = None, clips: bool = False) -> Bank:
        """The current version of a bank, or a kept one; with its clips only if asked. Raises `NotFound`."""
        for _ in range(5):
            bank = self.read(name, self._find(name, version), clips=clips)
            if bank is not None:
                return bank
        raise Conflict(f"bank {name!r} changes faster than it can be read")

    def read(self, name: str, version: Version, *, clips: bool = False) -> Bank | None:
        """The data of `version`; None if it was dropped since the pointer was read."""
        return self._data.read(name, self._pointer_key(name), version, clips=clips)

    def clip_keys(self, name: str) -> list[str]:
        """The keys of all clips of a bank, in whichever version. Raises `NotFound`."""
        self.history(name)
        return sorted(known_keys(self.redis, self._pointer_key(name)))

    def has_clips(self, name: str, keys: Sequence[str]) -> bool:
        """Whether any version of a bank has one of the clips."""
        return not known_keys(self.redis, self._pointer_key(name)).isdisjoint(keys)

    # Changing

    def put(self, name: str, bank: Bank, *, expect_version: int | None = None) -> int:
        """Write `bank` as the new version of `name`; returns its number.

        `expect_version` is the version that the change started from (0: there was no bank); `Conflict` if it moved.
        """
        if name == ALL or name in ALIASES:
            raise Unusable(f"{name!r} is a mode, so no bank may be called that")

        def change(kept: list[Version]) -> list[Version]:
            current = kept[0].version if kept else 0
            if expect_version is not None and current != expect_version:
                raise Conflict(
                    f"bank {name!r} is at version {current}, not {expect_version}: another change was first; "
                    "read it again and repeat yours",
                    version=current,
                    expected=expect_version,
                )
            return [self._data.write(self._pointer_key(name), bank, current + 1), *kept]

        return self._move(name, change)[0].version

    def update(self, name: str, change: Callable[[Bank], Bank], *, attempts: int = 20) -> int:
        """Apply `change` to the current bank with its clips, again if another writer was first.

        A change that gives the very bank that it was given is none: no version is written.
        """
        for _ in range(attempts):
            bank = self.get(name, clips=True)
            changed = change(bank)
            if changed is bank:
                return bank.version
            try:
                return self.put(name, changed, expect_version=bank.version)
            except Conflict as error:
                if error.code != Conflict.code:
                    raise
        raise Conflict(f"bank {name!r} was changed by others {attempts} times in a row")

    def rollback(self, name: str, version: int | None = None) -> int:
        """Make a kept version (default: the one before) the newest again, under a new number.

        Repeated, it goes further back. Raises `NotFound`.
        """

        def change(kept: list[Version]) -> list[Version]:
            back = self._kept_version(name, kept, earlier(kept) if version is None else version)
            return _restored(kept, back, f"rollback to version {back.state}")

        self.history(name)
        return self._move(name, change)[0].version

    def redo(self, name: str) -> int:
        """Take the last rollback back, under a new number; repeated, it goes further forward. Raises `NotFound`."""

        def change(kept: list[Version]) -> list[Version]:
            wanted = later(kept)
            if wanted is None:
                raise NotFound(f"bank {name!r} has no rollback to take back; see its versions with `banks show`")
            return _restored(kept, self._kept_version(name, kept, wanted), f"redo of version {wanted}")

        self.history(name)
        return self._move(name, change)[0].version

    def delete(self, name: str) -> None:
        """Remove a bank with all its versions. Raises `NotFound`."""
        self.history(name)
        self._move(name, lambda _kept: [])

    def rewrite(self, name: str, plan: Callable[[Iterator[Bank]], Callable[[Bank], Bank]]) -> None:
        """Change **every** kept version: what the change removes is in none of them afterwards.

        `plan` is shown the versions with their clips, newest first, and gives the change. The newest gets the next
        number, so that a change that began before this one gets `Conflict` and cannot bring back what is gone.
        """

        def whole(version: Version) -> Bank:
            bank = self.read(name, version, clips=True)
            if bank is None:
                raise WatchError
            return bank

        def each(kept: list[Version]) -> list[Version]:
            change = plan(whole(version) for version in kept)
            numbers = {kept[0].version: kept[0].version + 1} if kept else {}
            written: dict[str, Version] = {}
            made = []
            for version in kept:
                changed, number = change(whole(version)), numbers.get(version.version, version.version)
                if version.data not in written:
                    written[version.data] = self._data.write(self._pointer_key(name), changed, number)
                restores = numbers.get(version.restores, version.restores)
                made.append(replace(written[version.data], version=number, restores=restores, source=changed.source))
            return made

        self.history(name)
        self._move(name, each)

    def touch(self, pipe: Pipeline) -> None:
        """Move the token, so that every reader looks again, as part of the caller's transaction."""
        pipe.incr(self.token_key)

    # How

    def _move(self, name: str, change: Callable[[list[Version]], list[Version]]) -> list[Version]:
        """Replace the pointer's versions by what `change` makes of them, again if it moved meanwhile."""
        pointer = self._pointer_key(name)
        for _ in range(50):
            with self.redis.pipeline() as pipe:
                kept: list[Version] = []
                wanted: list[Version] = []
                try:
                    pipe.watch(pointer)
                    kept = read_versions(pipe.get(pointer))
                    wanted = _limited(change(kept), self.keep)
                    stale = stale_clips(self.redis, pointer, [(self._data.clips_key(v), v.model) for v in wanted])
                    pipe.multi()
                    self._point(pipe, name, kept, wanted)
                    if stale:
                        pipe.hdel(f"{pointer}:clips", *stale)
                        pipe.hdel(f"{pointer}:clipinfo", *stale)
                    self.touch(pipe)
                    pipe.execute()
                    return wanted
                except WatchError:
                    self._discard(kept, wanted)
                    continue
        raise Conflict(f"bank {name!r} is changed by too many writers at once; try again")

    def _discard(self, kept: list[Version], wanted: list[Version]) -> None:
        """Delete what was written for a change that another was before."""
        have = {version.data for version in kept}
        for version in wanted:
            if version.data not in have:
                self.redis.unlink(*self._data.keys(version))

    def _point(self, pipe: Pipeline, name: str, kept: list[Version], wanted: list[Version]) -> None:
        pointer = self._pointer_key(name)
        ids = {version.data for version in wanted}
        for version in {version.data: version for version in wanted}.values():
            for key in self._data.keys(version):
                pipe.persist(key)
        for version in kept:
            if version.data not in ids:
                pipe.unlink(*self._data.keys(version))
        if wanted:
            pipe.set(pointer, write_versions(wanted))
            pipe.sadd(self._names_key, name)
        else:
            pipe.unlink(pointer, f"{pointer}:clips", f"{pointer}:clipinfo", self.cohort_key(name))
            pipe.srem(self._names_key, name)

    def _find(self, name: str, version: int | None) -> Version:
        kept = self.history(name)
        return kept[0] if version is None else self._kept_version(name, kept, version)

    @staticmethod
    def _kept_version(name: str, kept: list[Version], version: int | None) -> Version:
        """The kept version of that number; None: the one before the newest, where there is none. Raises `NotFound`."""
        match = next((entry for entry in kept if entry.version == version), None)
        if match is not None:
            return match
        versions = [entry.version for entry in kept]
        which = "no version before this one" if version is None else f"no version {version}"
        raise NotFound(f"bank {name!r} has {which}; kept are {', '.join(map(str, versions))}", kept=versions)

    def cohort_key(self, name: str) -> str:
        """Where the name of a bank's cohort is kept; see `asnorm`."""
        return f"{self._pointer_key(name)}:cohort"

    def _pointer_key(self, name: str) -> str:
        return f"{self.prefix}bank:{name}"


def _restored(kept: list[Version], back: Version, source: str) -> list[Version]:
    """The versions with `back` as the newest again. Rollbacks in a row are one version, so that they evict none."""
    if back.state == kept[0].state:
        return kept
    again = replace(back, version=kept[0].version + 1, restores=back.state, source=source)
    return [again, *(kept[1:] if kept[0].restores else kept)]


def _limited(versions: list[Version], keep: int) -> list[Version]:
    """The newest versions of `keep` different contents."""
    contents = list(dict.fromkeys(version.data for version in versions))[:keep]
    return [version for version in versions if version.data in contents]
