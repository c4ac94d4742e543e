"""A run in a store: any path that fsspec knows, such as `s3://bucket/run`, `gs://...` or `file:///shared/run`.

Every file appears at once or not at all: object stores replace an object in one step, elsewhere a file is written beside its place and moved there. A lock
file excludes a second writer. Its holder rewrites it every few seconds, so that one that stays the same belongs to a process that died; who takes over
writes a token of its own, and whoever writes checks first that the token is still there.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mesocosm.lab.errors import UserError

LOCK = ".lock.json"
BEAT_SECONDS = 5.0
PATIENCE_SECONDS = 20.0
"""A lock that has not changed for this long belongs to nobody."""
SETTLE_SECONDS = 2.0
"""After this long, of two that took over at once, the first sees that the other did."""
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "obs"})


class Store:
    """The files of one run under a URL; names are relative, with slashes.

    Raises:
        UserError: the URL's protocol is unknown or its package is not installed, or the store cannot be reached.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise UserError('--store needs fsspec: pip install "mesocosm[ray]"') from None
        try:
            self.files, root = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UserError(f"cannot use the store {url}: {error}") from None
        self.root = str(root).rstrip("/")
        protocols = (self.files.protocol,) if isinstance(self.files.protocol, str) else self.files.protocol
        self.objects = not OBJECT_STORES.isdisjoint(protocols)

    def names(self, *folders: str) -> list[str]:
        """All files in these folders, or in the whole store, but for the lock."""
        self.files.invalidate_cache()
        found: list[str] = []
        for folder in folders or ("",):
            with suppress(FileNotFoundError):
                found += [str(path)[len(self.root) + 1 :] for path in self.files.find(self._place(folder))]
        return sorted(name for name in found if name != LOCK and not name.endswith(".part"))

    def push(self, folder: Path, names: Iterable[str]) -> None:
        """Write files from a local folder, in this order."""
        for name in names:
            with self._errors("write", name):
                self._put(self._place(name), lambda place, file=folder / name: self.files.put_file(str(file), place))

    def pull(self, folder: Path, names: Iterable[str]) -> None:
        """Read files into a local folder; each is complete or absent there."""
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.{os.getpid()}.part")
            with self._errors("read", name):
                self.files.get_file(self._place(name), str(partial))
            os.replace(partial, target)

    def remove(self, names: Iterable[str], first: str | None = None) -> None:
        """Remove files, one before the others; those that do not exist are as if removed."""
        for name in sorted(names, key=lambda name: name != first):
            with self._errors("remove", name), suppress(FileNotFoundError):
                self.files.rm_file(self._place(name))

    # --- the lock

    def check_holder(self, token: str) -> None:
        """Check that this token holds the lock.

        Raises:
            UserError: another process has taken over.
        """
        if (found := self._lock()).get("token") != token:
            raise UserError(f"the run in {self.url} was taken over by {_who(found)}")

    @contextmanager
    def held(self, note: Callable[[str], None], lost: Callable[[], None]) -> Iterator[str]:
        """Hold the lock, and give its token.

        Args:
            note: called with a line if it must be waited whether the holder of the lock is alive.
            lost: called once, from another thread, if another process takes over.

        Raises:
            UserError: another process holds it.
        """
        token = secrets.token_hex(8)
        self._acquire(token, note)
        ended = threading.Event()
        beat = threading.Thread(target=self._beat, args=(token, ended, lost), name="mesocosm-lock", daemon=True)
        beat.start()
        try:
            yield token
        finally:
            ended.set()
            beat.join()
            if self._lock().get("token") == token:
                self.remove([LOCK])

    def _acquire(self, token: str, note: Callable[[str], None]) -> None:
        with self._errors("write", LOCK):
            if not self.objects:
                self.files.makedirs(self.root, exist_ok=True)
            try:
                self.files.pipe_file(self._place(LOCK), self._content(token), mode="create")
                return
            except FileExistsError:
                pass
        found = self._lock()
        if not _is_dead_here(found):
            note(f"{self.url} is locked by {_who(found)}; looking for {PATIENCE_SECONDS:g} s whether it is alive")
            deadline = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < deadline:
                time.sleep(min(1.0, PATIENCE_SECONDS / 4))
                if self._lock() != found:
                    raise UserError(f"{self.url} is being written by {_who(found)}; wait for it, or choose another store")
        self._write_lock(token)
        time.sleep(SETTLE_SECONDS)
        self.check_holder(token)

    def _beat(self, token: str, ended: threading.Event, lost: Callable[[], None]) -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                if self._lock().get("token") != token:
                    lost()
                    return
                self._write_lock(token)
            except UserError:  # the store does not answer now: whoever writes will see
                continue

    def _lock(self) -> dict[str, Any]:
        self.files.invalidate_cache()
        with self._errors("read", LOCK):
            try:
                found = json.loads(self.files.cat_file(self._place(LOCK)))
            except (FileNotFoundError, ValueError):
                return {}
        return found if isinstance(found, dict) else {}

    def _write_lock(self, token: str) -> None:
        with self._errors("write", LOCK):
            self._put(self._place(LOCK), lambda place: self.files.pipe_file(place, self._content(token)))

    def _content(self, token: str) -> bytes:
        lock = {"token": token, "host": socket.gethostname(), "namespace": _namespace(), "process": os.getpid(), "beat": time.time()}
        return json.dumps(lock).encode()

    # --- files

    def _place(self, name: str) -> str:
        return f"{self.root}/{name}".rstrip("/")

    def _put(self, place: str, fill: Callable[[str], object]) -> None:
        """Let `fill` write an object, or a file beside its place that is then moved there."""
        if self.objects:
            fill(place)
            return
        folder, _, last = place.rpartition("/")
        beside = f"{folder}/.{last}.{secrets.token_hex(4)}.part"
        self.files.makedirs(folder, exist_ok=True)
        try:
            fill(beside)
            self.files.mv(beside, place)
        finally:
            with suppress(FileNotFoundError):
                self.files.rm_file(beside)

    @contextmanager
    def _errors(self, deed: str, name: str) -> Iterator[None]:
        """Converts what a store raises into a line for the user; files that do not exist are the caller's to judge."""
        try:
            yield
        except (FileNotFoundError, FileExistsError, UserError):
            raise
        except Exception as error:  # each protocol's package has exceptions of its own
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"cannot {deed} {self.url}/{name}: {first}; finished trials are kept, the same command resumes") from error


def _who(lock: dict[str, Any]) -> str:
    return f"process {lock.get('process', '?')} on {lock.get('host', '?')}"


def _namespace() -> str:
    """Where a process number means something: a container of a machine that has not been started again since. Empty where the system does not say."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _is_dead_here(lock: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that has ended."""
    if not lock.get("namespace") or lock["namespace"] != _namespace() or not isinstance(lock.get("process"), int):
        return False
    try:
        os.kill(lock["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
