"""What the judge needs to know about a run besides its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Unfinished:
    """A trial without tables.

    Attributes:
        trial: its name.
        reason: why, as in its status: "failed: ...", "skipped: ...", "not run".
        tables: names of the tables that it would have written, inferred from finished trials of the same function.
    """

    trial: str
    reason: str
    tables: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Circumstances:
    """What the judge needs to know about a run besides its tables.

    Attributes:
        command: the command line that made the run.
        changed: fields in which its config differs from the preset's, one text each ("task.dim = 8 (10 in the preset)").
        user_parts: slots filled with a user's part, one text each ("mixer = mypackage.layers:MyMixer").
        unfinished: trials that failed, were skipped or did not run.
        fingerprints: `fingerprints(claims, code)` as stored when the run started.
        page: where the study's claims are discussed.
        code: check -> hash of the code of its measurement and control as it is now; None if it is not compared.
        earlier_records: check -> number of earlier records of the study that gave a verdict on it.
    """

    command: str
    changed: Sequence[str] = ()
    user_parts: Sequence[str] = ()
    unfinished: Sequence[Unfinished] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    page: str | None = None
    code: Mapping[str, str] | None = None
    earlier_records: Mapping[str, int] = field(default_factory=dict)
