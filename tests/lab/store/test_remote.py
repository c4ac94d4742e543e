"""A run in a store: files appear at once or not at all, and one process writes."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid

import pytest

from mesocosm.lab.errors import UserError
from mesocosm.lab.store import remote
from mesocosm.lab.store.remote import LOCK, Store

SERVERS = ("flask", "moto", "s3fs")


@pytest.fixture(scope="module")
def bucket():
    """The URL of a bucket on an S3 server of its own."""
    if lacking := [name for name in SERVERS if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{', '.join(lacking)} not installed: make cluster")
    from s3_server import bucket

    with bucket() as url:
        yield url


@pytest.fixture(params=["file", "memory", pytest.param("s3", marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore")])])
def store(request, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(remote, "PATIENCE_SECONDS", 6.0 if request.param == "s3" else 1.5)  # a busy machine beats late
    monkeypatch.setattr(remote, "SETTLE_SECONDS", 1.0 if request.param == "s3" else 0.2)
    name = uuid.uuid4().hex
    if request.param == "s3":
        return Store(f"{request.getfixturevalue('bucket')}/{name}")
    return Store({"file": f"file://{tmp_path}/store", "memory": f"memory://{name}"}[request.param])


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    for name, text in {"run.json": "1", "trials/a/status.json": "2", "trials/b/tables/c.parquet": "3"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def silent(line: str) -> None:
    raise AssertionError(line)


def test_what_is_written_is_read_again(store, files, tmp_path):
    names = ["run.json", "trials/a/status.json", "trials/b/tables/c.parquet"]
    assert store.names() == []
    store.push(files, names)
    assert Store(store.url).names() == names
    assert store.names("trials/b", "trials/none") == names[2:]
    store.pull(tmp_path / "copy", names)
    assert [(tmp_path / "copy" / name).read_text() for name in names] == ["1", "2", "3"]
    assert sorted(path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()) == ["c.parquet", "run.json", "status.json"]
    (files / "run.json").write_text("other")
    store.push(files, ["run.json"])
    store.pull(tmp_path / "copy", ["run.json"])
    assert (tmp_path / "copy" / "run.json").read_text() == "other"
    store.remove([*names[1:], "never/was"])
    assert store.names() == ["run.json"]


def test_the_status_goes_first(store, files, monkeypatch):
    names, removed = ["trials/b/tables/c.parquet", "run.json", "trials/a/status.json"], []
    store.push(files, names)
    monkeypatch.setattr(store.files, "rm_file", lambda place: removed.append(place.removeprefix(store.root + "/")))
    store.remove(names, first="trials/a/status.json")
    assert removed == ["trials/a/status.json", "trials/b/tables/c.parquet", "run.json"]


def test_a_write_that_fails_leaves_the_earlier_file_and_nothing_else(store, files, monkeypatch, tmp_path):
    store.push(files, ["run.json"])
    (files / "run.json").write_text("x" * 1000)
    whole = store.files.put_file

    def broken(local, place, **options):
        if not store.objects:  # an object store shows nothing of an upload that does not end
            whole(local, place, **options)
        raise RuntimeError("the plug was pulled\nand more")

    with monkeypatch.context() as patch:
        patch.setattr(store.files, "put_file", broken)
        with pytest.raises(UserError, match=r"cannot write .*run\.json: the plug was pulled; finished trials are kept"):
            store.push(files, ["run.json"])
    store.files.invalidate_cache()
    assert [place.rpartition("/")[2] for place in store.files.find(store.root)] == ["run.json"]
    store.pull(tmp_path, ["run.json"])
    assert (tmp_path / "run.json").read_text() == "1"


def test_a_second_writer_is_refused_while_the_first_lives(store):
    notes = []
    with store.held(silent, silent) as token:
        store.check_holder(token)
        assert store.names() == []
        with (
            pytest.raises(UserError, match=f"is being written by process {os.getpid()} on {socket.gethostname()}"),
            Store(store.url).held(notes.append, silent),
        ):
            pass
        store.check_holder(token)
    assert len(notes) == 1
    assert "is alive" in notes[0]
    with store.held(silent, silent):
        pass


@pytest.mark.whole
def test_a_lock_that_nobody_holds_is_taken_over_and_its_holder_writes_no_more(store):
    notes, lost = [], threading.Event()
    store.files.makedirs(store.root, exist_ok=True)
    store.files.pipe_file(f"{store.root}/{LOCK}", json.dumps({"token": "old", "host": "elsewhere", "process": 7, "beat": 0}).encode())
    began = time.monotonic()
    with store.held(notes.append, lost.set) as token:
        assert time.monotonic() - began >= remote.PATIENCE_SECONDS
        assert "process 7 on elsewhere" in notes[0]
        with pytest.raises(UserError, match="taken over by process"):
            store.check_holder("old")
        store._write_lock("another")
        assert lost.wait(30.0)
        with pytest.raises(UserError, match="taken over"):
            store.check_holder(token)
    store.check_holder("another")  # it is not ours to remove


def test_a_lock_of_a_process_of_this_machine_that_has_ended_is_free_at_once(store, monkeypatch):
    monkeypatch.setattr(remote, "PATIENCE_SECONDS", 60.0)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    store.files.makedirs(store.root, exist_ok=True)
    lock = {"token": "old", "host": socket.gethostname(), "namespace": remote._namespace(), "process": ended.pid}
    store.files.pipe_file(f"{store.root}/{LOCK}", json.dumps(lock).encode())
    with store.held(silent, silent):
        pass


@pytest.mark.whole
def test_of_two_that_take_over_at_once_one_remains(store):
    store.files.makedirs(store.root, exist_ok=True)
    store.files.pipe_file(f"{store.root}/{LOCK}", json.dumps({"token": "old", "host": "elsewhere", "process": 7}).encode())
    outcomes = []

    def take() -> None:
        try:
            with Store(store.url).held(lambda line: None, lambda: None):
                outcomes.append("held")
                time.sleep(1.0)
        except UserError:
            outcomes.append("refused")

    both = [threading.Thread(target=take) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(outcomes) == ["held", "refused"]


@pytest.mark.parametrize("url", ["carrier-pigeon://coop/run"])
def test_a_store_that_cannot_be_used_is_one_line(url):
    with pytest.raises(UserError, match="cannot use the store carrier-pigeon"):
        Store(url)
