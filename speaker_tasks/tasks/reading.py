"""From what an enrollment was asked to read to its manifest: a path below the allowed roots, a manifest, an archive."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import orjson

from banks.bank import Bank
from enrollment import archive, sources
from enrollment.archive import Limits
from enrollment.manifest import Entry, Manifest
from enrollment.places import Places, is_url
from enrollment.report import Outcome, Reason
from enrollment.roots import inside
from enrollment.sources import Options
from speaker_tasks.errors import Malformed, Unusable
from speaker_tasks.jobs.audio import Audio, AudioStore
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.plan import Request
from speaker_tasks.tasks.recordings import PAYLOAD


def read_source(context: WorkerContext, request: Request) -> Manifest:
    """The manifest of a source. Raises `Malformed` for an unknown kind, and what reading it raises."""
    options = Options.from_dict(request.options)
    match request.source:
        case {"path": str(path)} | {"folder": str(path)}:
            return _of_path(context, path, options)
        case {"manifest": str(key)}:
            return read_manifest(context, key)
        case {"archive": str(key)}:
            return _of_archive(context, context.audio.get(key), options)
        case {"bank": str(name)}:
            return of_bank(context.banks.get(name, clips=True))
    raise Malformed(f"a source is a path, a manifest, an archive or a bank; got {sorted(request.source)}")


def read_manifest(context: WorkerContext, key: str) -> Manifest:
    """A manifest that was sent along. Raises `PayloadGone`."""
    return Manifest.from_dict(orjson.loads(context.audio.get(key)))


def of_bank(bank: Bank) -> Manifest:
    """The recordings that a bank was made of, as far as it knows where they lie; the others are named.

    Raises `Unusable` for a bank that kept no clips.
    """
    if bank.clips is None:
        raise Unusable(f"bank {bank.name!r} came without its recordings; enroll them", bank=bank.name)
    entries, skipped = [], []
    clips = bank.clips
    for key, owner, path, span in zip(clips.keys, clips.owners, clips.paths, clips.spans, strict=True):
        speaker, row = bank.labels[int(owner)], f"clip {key}"
        if not (path.startswith("/") or is_url(path)):
            message = "it was uploaded, or came with a bank file, and nobody kept it"
            skipped.append(Outcome(speaker, "", Reason.MISSING, message, row))
            continue
        start, end = span or (None, None)
        entries.append(Entry(speaker, path, start, None if end is None or end < 0 else end, row))
    return Manifest.of(entries, skipped, bank.labels)


def _of_path(context: WorkerContext, path: str, options: Options) -> Manifest:
    places = Places(context.settings.data_roots, context.settings.data_urls)
    for place in (path, options.root):
        if place is not None and is_url(place):
            places.check_url(place.rstrip("/") + "/")
    if is_url(path):
        return sources.read(path, options)
    if options.root is not None and not is_url(options.root):
        options = replace(options, root=str(inside(options.root, context.settings.data_roots)))
    source = inside(path, context.settings.data_roots)
    if sources.kind_of(source) == sources.Kind.ARCHIVE:
        if source.stat().st_size > context.settings.max_upload_bytes:
            raise Unusable(f"{source.name} has more than {context.settings.max_upload_bytes} bytes; unpack it first")
        return _of_archive(context, source.read_bytes(), options)
    return sources.read(str(source), options, inside=partial(inside, roots=context.settings.data_roots))


def _of_archive(context: WorkerContext, data: bytes, options: Options) -> Manifest:
    """Unpack with suspicion, and keep each recording once in Redis, where every worker finds it."""
    limits = Limits(total_bytes=context.settings.max_upload_bytes)
    store = AudioStore(context.redis, context.settings.job_ttl)
    keys: dict[str, str] = {}

    def kept(entry: Entry) -> Entry:
        if entry.path not in keys:
            keys[entry.path] = store.put(Audio.of_file(Path(entry.path).read_bytes()).pack())
        return replace(entry, path=f"{PAYLOAD}{keys[entry.path]}")

    with tempfile.TemporaryDirectory(prefix="enroll-") as temporary:
        top = archive.unpack(data, Path(temporary), limits)
        manifest = sources.read_unpacked(top, options)
        entries = tuple(kept(entry) for entry in manifest.entries)
        skipped = tuple(
            replace(one, path=one.row if one.path.startswith("/") else one.path) for one in manifest.skipped
        )
    return replace(manifest, entries=entries, skipped=skipped)
