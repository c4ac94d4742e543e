"""What the documentation takes from the records: tables of studies and claims, read from `results/` when a page is built, never typed.

A line `<!-- claims mesa -->` in a page becomes that study's claims table, `<!-- benchmarks -->` the benchmarks' tables, `<!-- stability -->` the table of
verdicts on other seeds, `<!-- studies -->` the table of all studies, which stands in the README; `python docs/records.py` writes each study's status there.
In a sentence, `{{ mesa/C2.loss }}` becomes the row's estimate with its interval, and `{{ mesa/C2.loss control }}`, or `estimate`, `low`, `high`, `n`,
`verdict`, one of its entries; a number takes a format, as in `{{ mesa/C2.loss estimate .1f }}`. On a study's own page, `C2.loss` is enough. Formulas become
MathML, which browsers draw without a script or a font from elsewhere.
"""

from __future__ import annotations

import csv
import html
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mesocosm.claims.earlier import earlier_text, verdict_changed
from mesocosm.claims.judge import CheckRow, ControlRow, from_json
from mesocosm.claims.summary import claim_verdict, group_by_claim, tally_text
from mesocosm.lab.store.run_directory import Run

ROOT = Path(__file__).parents[1]
STUDY = re.compile(r"^\| (?:\[)?`([a-z-]+)`", re.MULTILINE)
QUOTED = re.compile(r"\{\{ *(?:([a-z-]+)/)?([A-Z]\w*\.[\w-]+)(?: (\w+))?(?: ([^ }]+))? *\}\}")
ENTRIES = ("estimate", "low", "high", "n", "verdict", "control")
MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


# --- what mkdocs calls -----------------------------------------------------------------------------------------------


def on_config(config: Any, **_: Any) -> Any:
    """Add each study's page to the navigation."""
    pages = sorted(page.stem for page in (ROOT / "docs" / "studies").glob("*.md") if page.stem != "index")
    for entry in config["nav"]:
        if isinstance(entry, dict) and "Studies" in entry:
            entry["Studies"] = [*entry["Studies"], *({name: f"studies/{name}.md"} for name in pages)]
    return config


def on_page_markdown(markdown: str, *, page: Any = None, **_: Any) -> str:
    """Fill in the tables, and the numbers in sentences."""
    study = Path(page.file.src_uri).stem if page else ""
    markdown = QUOTED.sub(lambda found: quoted(ROOT / "results", found[1] or study, *found.groups()[1:]), markdown)
    markdown = markdown.replace("<!-- benchmarks -->", benchmarks_section(ROOT / "benchmarks" / "results"))
    markdown = markdown.replace("<!-- stability -->", stability_table(ROOT / "results" / "stability.csv"))
    markdown = re.sub(r"<!-- claims ([a-z-]+) -->", lambda found: claims_section(ROOT / "results", found[1]), markdown)
    return markdown.replace("<!-- studies -->", studies_table((ROOT / "README.md").read_text()))


def on_page_content(content: str, **_: Any) -> str:
    """Formulas to MathML."""
    return MATH.sub(lambda found: mathml(found[2], block=found[1] == "div"), content)


def mathml(latex: str, *, block: bool = False) -> str:
    """One formula."""
    from latex2mathml.converter import convert

    return convert(html.unescape(latex).strip(), display="block" if block else "inline")


# --- studies ---------------------------------------------------------------------------------------------------------


def status(results: Path, study: str) -> str:
    """What can honestly be said of a study, from the tree alone."""
    if not (results / study / "claims.json").exists():
        return "on the bench, no record yet"
    rows, record = read(results, study)
    return f"judged at `{record['preset']}`: {tally_text([asdict(row) for row in rows])} ([record](results/{study}))"


def claim_verdicts(rows: Sequence[CheckRow]) -> dict[str, str]:
    """Claim -> verdict."""
    return {claim: claim_verdict(group) for claim, group in group_by_claim([asdict(row) for row in rows]).items()}


def with_status(readme: str, results: Path) -> str:
    """The README with each study's status in the last column of its table."""
    lines = readme.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if found := STUDY.match(line):
            lines[number] = f"{line.rstrip().rstrip('|').rpartition('|')[0]}| {status(results, found[1])} |\n"
    return "".join(lines)


def studies_table(readme: str) -> str:
    """The README's table of studies, its links seen from `docs/studies/`."""
    table = next(table for table in re.findall(r"(?:^\|.*\n)+", readme, re.MULTILINE) if STUDY.search(table))
    return re.sub(r"\[record\]\(results/([a-z-]+)\)", r"[record](\1.md)", table).replace("(docs/studies/", "(").replace("(docs/", "(../")


# --- stability -------------------------------------------------------------------------------------------------------


def stability_table(file: Path) -> str:
    """For each study and for all: judged checks, the findings among them, and how many of either do not have the same verdict on all sets of seeds."""
    verdicts: dict[tuple[str, str, str], list[str]] = {}
    with file.open(newline="") as opened:
        for line in csv.DictReader(opened):
            verdicts.setdefault((line["study"], line["check"], line["evidence"]), []).append(line["verdict"])
    rows = []
    for study in [*dict.fromkeys(study for study, _, _ in verdicts), "**all**"]:
        checks = {key: given for key, given in verdicts.items() if study in (key[0], "**all**")}
        unlike = {key: given for key, given in checks.items() if len(set(given)) > 1}
        counts = [sum(kind in (key[2], "") for key in some) for kind in ("", "finding") for some in (checks, unlike)]
        which = "; ".join(f"`{check}` ({', '.join(given)})" for (own, check, _), given in sorted(unlike.items()) if own == study)
        rows.append((study, *map(str, counts), which))
    return table(("study", "checks", "not the same", "findings", "not the same", "which"), rows)


# --- benchmarks ------------------------------------------------------------------------------------------------------


def benchmarks_section(results: Path) -> str:
    """A table a record, and where it was made."""
    records = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    return "\n\n".join(map(benchmark_section, records)) or "There is no record in `benchmarks/results` yet. `mesocosm bench` makes one.\n"


def benchmark_section(record: dict[str, Any]) -> str:
    """One benchmark: the machine, the verdicts, the rows."""
    machine, rows = record["machine"], record["rows"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    threads = ", ".join(f"{name} {number}" for name, number in machine["threads"].items() if number is not None)
    tallied = ", ".join(f"{count} {word}" for word, count in Counter(row["verdict"] for row in rows).items())
    made = (
        f"{tallied}. Made {machine['date'][:10]} in {record['seconds'] / 60:.0f} minutes at revision `{machine['git']}` on {machine['device']['processor']}, "
        f"{machine['device']['platform']}. Threads: {threads}. Versions: {versions}."
    )
    return "\n\n".join(
        [
            f"## {record['benchmark']}: {record['title']}",
            made,
            table(("case", "size", "mesocosm", "peer", "its", "ratio", "error", "aim", "verdict"), [benchmark_cells(row) for row in rows]),
        ]
    )


def benchmark_cells(row: dict[str, Any]) -> list[str]:
    """One row; what limits us, or was spared a peer, stands behind the verdict."""
    units = {"seconds": " s", "MiB": " MiB", "power of tokens": " (power of the tokens)", "error": " (error)"}
    ours, theirs = ("" if row[side] is None else f"{row[side]:.3g}{units[row['quantity']]}" for side in ("ours", "theirs"))
    ratio = "" if row["ratio"] is None else number(row["ratio"], row["low"], row["high"])
    error = "" if row["error"] is None else f"{row['error']:.0e}"
    return [cell(row["case"]), cell(row["size"]), ours, cell(row["peer"]), theirs, ratio, error, row["target"], verdict(row["verdict"], row["note"])]


# --- numbers in sentences --------------------------------------------------------------------------------------------


def quoted(results: Path, study: str, check: str, entry: str | None, form: str | None) -> str:
    """What one row of the record says. `KeyError`: there is no such row, or it has no such entry or no estimate."""
    rows = {row.id: row for row in read(results, study)[0]} if (results / study / "claims.json").exists() else {}
    row = rows.get(f"{study}/{check}")
    value = row if entry is None else getattr(row, entry, None) if entry in ENTRIES else None
    if value is None or (isinstance(value, CheckRow | ControlRow) and value.estimate is None):
        raise KeyError(f"a page quotes {study}/{check} {entry or ''}, which the record in results/{study} does not have")
    if isinstance(value, CheckRow | ControlRow):
        return number(value.estimate, value.low, value.high, form)
    return number(value, None, None, form) if isinstance(value, float) else str(value)


# --- claims ----------------------------------------------------------------------------------------------------------


def read(results: Path, study: str) -> tuple[list[CheckRow], dict[str, Any]]:
    """A record's judged checks and its run.json."""
    folder = results / study
    return from_json((folder / "claims.json").read_text()), json.loads((folder / "run.json").read_text())


def claims_section(results: Path, study: str) -> str:
    """Where the numbers come from, the claims, and the checks behind them."""
    if not (results / study / "claims.json").exists():
        return f"There is no record of this study in `results/{study}` yet. `mesocosm run {study} --preset cpu` makes one.\n"
    rows, record = read(results, study)
    verdicts = claim_verdicts(rows)
    seen: dict[str, CheckRow] = {}
    for row in rows:
        seen.setdefault(row.claim, row)
    claims = [
        (anchored(row.claim), cell(row.statement), cell(row.source), verdict(verdicts[row.claim], None if row.kind else row.reason)) for row in seen.values()
    ]
    checks = [
        (
            f"`{row.id}`",
            measured(row),
            region(row),
            control(row),
            reference(row),
            verdict(row.verdict, "; ".join(filter(None, (row.reason, row.note, earlier(row))))),
        )
        for row in rows
        if row.kind
    ]
    minutes, versions = record.get("wall_seconds", 0.0) / 60, record.get("versions", {})
    made = (
        f"Read from `results/{study}`: preset `{record['preset']}`, seeds {record['seeds'][0]} to {record['seeds'][-1]}, {minutes:.0f} minutes, "
        f"jax {versions.get('jax', 'unknown')}, started {record['started'][:10]}. Command: `{record['command']}`."
    )
    if (results / study / "trials").exists() and (outdated := Run(results / study).outdated):
        made += f"\n\n**Made with older code**: the code of {len(outdated)} of its trials has changed since."
    return "\n\n".join(
        [
            made,
            table(("claim", "statement", "source", "verdict"), claims),
            "### Checks",
            "Estimates are given with their 95 % interval and the number of replicates (without an interval: the worst value and the number of instances).",
            table(("check", "measured", "holds if", "control", "reference", "verdict"), checks),
        ]
    )


def anchored(claim: str) -> str:
    """A claim's id, to which rows that do not hold refer."""
    return f'<span id="{claim.lower()}"></span>**{claim}**'


def verdict(word: str, reason: str | None) -> str:
    """A verdict, and the reason where there is one."""
    return f"**{word}**" + (f": {cell(reason)}" if reason else "")


def earlier(row: CheckRow) -> str | None:
    """What earlier records gave, where one gave another verdict."""
    return earlier_text(asdict(row)) if verdict_changed(asdict(row)) else None


def measured(row: CheckRow) -> str:
    """What was measured and what came out."""
    unit = f" {row.unit}" if row.unit else ""
    return f"{cell(row.metric or '')}: {number(row.estimate, row.low, row.high)}{unit}" + (f", n = {row.n}" if row.n else "")


def region(row: CheckRow) -> str:
    """The region that was fixed beforehand."""
    ends = row.threshold if isinstance(row.threshold, list) else [row.threshold]
    return f"{html.escape(row.direction or '')} {' to '.join(f'{end:g}' for end in ends if end is not None)}"


def control(row: CheckRow) -> str:
    """The case that must lie outside."""
    return f"{cell(row.control.name)}: {number(row.control.estimate, row.control.low, row.control.high)}" if row.control else ""


def reference(row: CheckRow) -> str:
    """A number from elsewhere."""
    return "" if row.reference is None else f"{row.reference:g} ({row.origin})"


def number(estimate: float | None, low: float | None, high: float | None, form: str | None = None) -> str:
    """A number, with its interval if it has one; three significant digits unless told."""
    if estimate is None:
        return "none"
    form = form or ".3g"
    return f"{estimate:{form}}" + (f" [{low:{form}}, {high:{form}}]" if low is not None and high is not None else "")


def cell(text: str) -> str:
    """Text that stays in its cell."""
    return html.escape(text.replace("|", "¦"), quote=False).replace("$", "&#36;").replace("*", "&#42;").replace("_", "&#95;")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    page = ROOT / "README.md"
    page.write_text(with_status(page.read_text(), ROOT / "results"))
