"""A run directory is data: nothing in it is ever executed, whoever wrote it."""

import ast
import json
import pickle
import signal
from pathlib import Path

import pytest

import mesocosm
from mesocosm.lab.catalogue import find
from mesocosm.lab.errors import UserError
from mesocosm.lab.events.event import Progress
from mesocosm.lab.run.runner import execute, judge_run
from mesocosm.lab.store import atomic
from mesocosm.lab.store.run_directory import Run, TrialStore
from watching import Remembering, results

pytestmark = pytest.mark.whole

STUDY = find("toy-study")
EXECUTING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNPICKLING = {"load", "loads", "read_pickle", "tree_deserialise_leaves"}


def test_no_source_file_can_load_a_pickle():
    sources = sorted(Path(mesocosm.__file__).parent.rglob("*.py"))
    assert len(sources) > 100
    nodes = ((file, node) for file in sources for node in ast.walk(ast.parse(file.read_bytes())))
    for source, node in nodes:
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        assert not {name.partition(".")[0] for name in imported} & EXECUTING, source
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in UNPICKLING:
            owner = ast.unparse(node.func.value)
            said = {word.arg: ast.unparse(word.value) for word in node.keywords}
            safe = {"np": said.get("allow_pickle", "False") == "False", "torch": said.get("weights_only") == "True"}
            assert owner in ("json", "checkpoint") or safe.get(owner), (source, ast.unparse(node))


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.fixture
def bomb(tmp_path) -> tuple[bytes, Path]:
    """(a pickle, the file it makes when it is loaded)."""
    content, trace = pickle.dumps(Bomb(tmp_path / "exploded")), tmp_path / "exploded"
    pickle.loads(content)
    assert trace.exists()  # it is a real one
    trace.unlink()
    return content, trace


class Stopping(Remembering):
    def __call__(self, event):
        super().__call__(event)
        if isinstance(event, Progress) and event.trial == "rolling":
            signal.raise_signal(signal.SIGINT)


def test_a_pickle_in_place_of_a_checkpoint_is_not_loaded(tmp_path, bomb):
    out, (content, trace) = tmp_path / "run", bomb
    with pytest.raises(KeyboardInterrupt):
        execute(STUDY, "smoke", out=out, observer=Stopping())
    (checkpoint,) = out.rglob("checkpoints/*")
    checkpoint.write_bytes(content)
    watching = Remembering()
    execute(STUDY, "smoke", out=out, observer=watching)
    assert watching.of("note")[1].startswith("checkpoint descent.safetensors is damaged")
    assert not trace.exists()


def forge(out: Path, file: Path, content: bytes) -> None:
    """Put a content in a file's place, with the right checksum."""
    file.write_bytes(content)
    status = out / "trials" / "rolling" / "status.json"
    told = json.loads(status.read_text())
    told["tables" if file.suffix == ".parquet" else "models"][file.stem] = atomic.checksum(file)
    status.write_text(json.dumps(told))
    assert TrialStore(out, "rolling").damage() is None


def test_a_pickle_in_place_of_a_table_or_of_parameters_is_refused(tmp_path, bomb):
    out, (content, trace) = tmp_path / "run", bomb
    execute(STUDY, "smoke", out=out)
    before = results(out)
    forge(out, out / "models" / "rolling" / "ball.safetensors", content)
    with pytest.raises(ValueError, match=r"ball\.safetensors is not a safetensors file"):
        Run(out).model("rolling")
    forge(out, out / "trials" / "rolling" / "tables" / "heights.parquet", content)
    for attempt in (lambda: judge_run(out), lambda: Run(out).table("heights"), lambda: execute(STUDY, "smoke", out=out)):
        with pytest.raises(UserError, match=r"trial rolling: heights\.parquet is not a Parquet file; run the study with --fresh"):
            attempt()
    for name in ("run.json", "claims.json"):
        kept = (out / name).read_bytes()
        (out / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name} (cannot be read|is damaged)"):
            _ = Run(out).claims
        (out / name).write_bytes(kept)
    (out / "trials" / "frozen" / "status.json").write_bytes(content)
    execute(STUDY, "smoke", out=out, fresh=True)
    assert not trace.exists()
    assert results(out) == before
