"""Whatever is typed, and whatever lies in a run directory, the front door answers with a documented exit code and at most one short line of complaint."""

import contextlib
import io
import json
import shutil
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesocosm.cli import main

pytestmark = pytest.mark.whole

LONGEST_LINE = 700
GENERATED = settings(max_examples=15, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A folder with a finished run, a failed one, and what is no run."""
    folder = tmp_path_factory.mktemp("template")
    words = ["run", "toy-study", "--preset", "smoke", "--out"]
    assert told([*words, str(folder / "done")])[0] == 0
    assert told([*words, str(folder / "failed"), "--config.learning-rate", "1e38"])[0] == 1
    for run in ("done", "failed"):
        (folder / run / "index.html").unlink()  # large, and written again
    (folder / "empty").mkdir()
    (folder / "paper").mkdir()
    (folder / "paper" / "thesis.tex").write_text("")
    (folder / "file").write_text("")
    return folder


@pytest.fixture(autouse=True)
def no_browser(monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda address: True)


def told(words: list[str]) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command line; an exception would be a traceback."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code = main(words)
        except SystemExit as end:  # help was asked for
            code = end.code
    return code, out.getvalue(), error.getvalue()


def check(words: list[str]) -> int:
    """The front door keeps its word."""
    code, out, error = told(words)
    assert code in (0, 1, 2), words
    assert "Traceback" not in out + error, words
    if code == 2:
        assert error.startswith("mesocosm: "), words
        assert error.count("\n") == 1, error
        assert error.removesuffix("\n").isprintable(), words
        assert len(error) <= LONGEST_LINE, words
    else:
        assert error == "", words
    return code


@contextlib.contextmanager
def copy_of(template: Path):
    """A copy of the template as the working directory; no generated word leads out of it."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        shutil.copytree(template, folder, dirs_exist_ok=True)
        yield Path(folder)


# --- command lines --------------------------------------------------------------------------------------------------

PLACES = ["done", "failed", "empty", "paper", "file", "new", "file/below", "done/trials", "no/where/yet", "", ".", "a" * 300, "/dev/null/x", "/proc/none"]
SAFE = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), max_size=40).filter(lambda text: ".." not in text)
ODD = [
    "",
    "-",
    "--",
    "---",
    "-h",
    "--help",
    "=",
    "--=",
    "--config",
    "--config.",
    "--config.bowl",
    "--no-fresh",
    "\udcff",
    "\x1b[2J",
    "a\nb",
    "\u202e",
    "x" * 5000,
]
NUMBERS = ["-1", "0", "1", "2", "3", "1.5", "1e3", "٣", "1_0", "0x10", "nan", "-inf", "1e400", "1e38", "9" * 30, "9" * 5000, "true", "None", "[1]", "many"]
OPTIONS = ["--seeds", "--first-seed", "--config.learning-rate", "--config.bowl.noise", "--config.label", "--preset"]
SMALL_OPTIONS = ["--config.steps", "--config.bowl.dim", "--config.instances"]  # a large number here would really be trained with
FLAGS = ["--fresh", "--dry-run", "--fail-fast", "--open"]

places = st.sampled_from(PLACES)
options = st.one_of(
    st.tuples(st.sampled_from(OPTIONS), st.sampled_from(NUMBERS) | SAFE),
    st.tuples(st.sampled_from(SMALL_OPTIONS), st.sampled_from([word for word in NUMBERS if not word.startswith("9")])),
    st.tuples(st.just("--preset"), st.sampled_from(["smoke", "quick", "paper", "Smoke", ""])),
    st.tuples(st.just("--out"), places),
    st.tuples(st.sampled_from(FLAGS)),
)


def joined(words: tuple[str, ...], with_sign: bool) -> list[str]:
    return ["=".join(words)] if with_sign and len(words) == 2 else list(words)


runs = st.builds(
    lambda study, place, options: ["run", study, "--preset", "smoke", "--out", place, *(word for part in options for word in part)],
    st.sampled_from(["toy-study", "toy_study", "toy-study", "toy", ""]),
    places,
    st.lists(st.builds(joined, options, st.booleans()), max_size=3),
)
others = st.one_of(
    st.builds(lambda verb, place: [verb, place], st.sampled_from(["judge", "status", "report"]), places | SAFE),
    st.builds(lambda study: ["list", study], st.sampled_from(["", "toy-study", "mesa", "nothing"]) | SAFE),
)


@st.composite
def command_lines(draw) -> list[str]:
    """A sensible command line, and up to two slips: a word too few, too many, twice, in the wrong place, or another."""
    words = draw(st.one_of(runs, runs, others))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(words)))
        match draw(st.sampled_from(["leave out", "add", "repeat", "move"])):
            case "leave out":
                del words[place : place + 1]
            case "add":
                words.insert(place, draw(st.sampled_from(ODD + FLAGS) | SAFE))
            case "repeat":
                words[place:place] = words[place : place + 1]
            case "move":
                words.insert(place, words.pop(0) if words else "")
    return words


@GENERATED
@given(words=command_lines())
def test_no_command_line_shows_a_traceback(template, words):
    with copy_of(template):
        check(words)


# --- run directories ------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["smoke", "toy-study", "mesa", "finished", "failed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.sampled_from(["state", "format", "identity"]), inner, max_size=3),
    max_leaves=6,
)
FILES = ["run.json", "claims.json", *(f"trials/{trial}/status.json" for trial in ("identity", "rolling", "frozen", "probe"))]
TABLES = ["trials/rolling/tables/heights.parquet", "trials/identity/tables/identity.parquet", "models/rolling/ball.safetensors"]


def altered(value: Any, draw, deep: int = 0) -> Any:
    """The value with one of its parts gone or another one, at any depth."""
    if isinstance(value, dict | list) and value and (deep == 0 or draw(st.integers(0, 3))):
        key = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        changed = value.copy()
        if draw(st.integers(0, 3)) == 0:
            del changed[key]
        else:
            changed[key] = altered(value[key], draw, deep + 1)
        return changed
    return draw(JSON)


@st.composite
def harms(draw):
    """(file, function from its content to another one, None for no file, or False for a folder)."""
    file = draw(st.sampled_from([*FILES, *FILES, *TABLES]))
    kinds = ["bytes", "cut", "nothing", "folder"] + ["altered"] * 4 * file.endswith(".json")
    kind = draw(st.sampled_from(kinds))
    if kind == "altered":
        return file, lambda content: json.dumps(altered(json.loads(content), draw)).encode()
    return file, {
        "bytes": lambda content: draw(st.binary(max_size=40)),
        "cut": lambda content: content[: draw(st.integers(0, len(content)))],
        "nothing": lambda content: None,
        "folder": lambda content: False,
    }[kind]


def inflict(path: Path, harm) -> None:
    if not path.is_file():
        return
    content = harm(path.read_bytes())
    path.unlink()
    if content is False:
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)


@GENERATED
@given(data=st.data())
def test_no_run_directory_shows_a_traceback(template, data):
    run = data.draw(st.sampled_from(["done", "failed"]))
    verbs = data.draw(st.lists(st.sampled_from(["status", "judge", "report", "run", "dry"]), min_size=1, max_size=3, unique=True))
    with copy_of(template) as folder:
        for file, harm in data.draw(st.lists(harms(), min_size=1, max_size=2, unique_by=lambda harm: harm[0])):
            inflict(folder / run / file, harm)
        for verb in verbs:
            again = ["run", "toy-study", "--preset", "smoke", "--out", run]
            check({"run": again, "dry": [*again, "--dry-run"]}.get(verb, [verb, run]))
