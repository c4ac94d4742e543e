"""`mesocosm audit`: a table, files, a page, exit codes; and neither JAX nor torch on the way."""

import json
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from mesocosm.audit import Audit, Options, audit
from mesocosm.cli import main
from mesocosm.cli.audit_page import heat_map, render
from packed_models import FAMILIES, pack, write


@pytest.fixture
def model(tmp_path):
    family = FAMILIES["mistral-gqa"]
    return write(tmp_path / "model", pack(family)[0], family.config)


def test_the_table_has_every_value_beside_its_nulls(model, capsys):
    assert main(["audit", str(model)]) == 0
    out = capsys.readouterr().out
    assert "model.layers.*.self_attn" in out
    rows = audit(model).rows
    for row in rows.iter_rows(named=True):
        assert f"{row['ratio']:.4f}" in out
        assert f"{row['null1']:.4f}±" in out
        assert f"{row['null2']:.4f}±" in out
    assert "1 (×2)" in out
    assert "There is no good or bad value." in out.replace("\n", " ")
    assert "the law holds for pair traces only" in out


def test_rows_are_sorted_and_cut_as_asked(model, capsys):
    ratios = sorted(f"{value:.4f}" for value in audit(model).rows["ratio"])
    for words, wanted in ((["--sort", "ratio"], ratios[::-1]), (["--sort=-ratio"], ratios)):
        assert main(["audit", str(model), *words, "--top", "3"]) == 0
        out = capsys.readouterr().out
        lines = [line for line in out.splitlines() if re.match(r"[\s\d(×)]+(QK|VO) ", line)]
        assert len(lines) == 3
        assert all(value in line for value, line in zip(wanted[:3], lines, strict=True))
        assert "5 more rows: --top 0 shows all" in out


def test_files_and_page_hold_what_the_table_holds(model, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["audit", str(model), "--out", str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["audit.csv", "audit.json", "audit.parquet", "index.html", "row_norms.parquet", "spectra.parquet"]
    rows = audit(model).rows
    assert pl.read_parquet(out / "audit.parquet").equals(rows)
    assert [row["ratio"] for row in json.loads((out / "audit.json").read_text())] == rows["ratio"].to_list()
    assert pl.read_csv(out / "audit.csv").columns == rows.columns
    page = (out / "index.html").read_text()
    assert page.count("</figure>") == 6
    assert not re.findall(r'(?:src|href)="(?!#)', page.partition("<script")[0])  # nothing is loaded from elsewhere
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert len(data["specs"]) == 6
    assert "Report:" in capsys.readouterr().out


def test_the_terminal_ends_with_a_paragraph_of_summary(model, capsys):
    assert main(["audit", str(model), "--draws", "7"]) == 0
    rows = audit(model, Options(draws=7)).rows
    assert rows["draws"].unique().to_list() == [7]
    queries = rows.filter(product="QK")
    told = " ".join(capsys.readouterr().out.split())
    above = queries.filter(pl.col("ratio") > pl.col("null2") + 2 * pl.col("null2_sd")).height
    below = queries.filter(pl.col("ratio") < pl.col("null2") - 2 * pl.col("null2_sd")).height
    assert f"the median ratio is {queries['ratio'].median():.3f} ({queries['ratio'].min():.3f} to {queries['ratio'].max():.3f})" in told
    assert f"of 4 products, {above} lie above and {below} below the rotated" in told
    assert re.search(r"make up 95 % \(at random [\d.]+\)\.$", told)


def test_a_name_cannot_become_markup(tmp_path):
    family = FAMILIES["bert"]
    tensors = {name.replace("bert.", "<b>x</b>."): value for name, value in pack(family)[0].items()}
    page = render([audit(write(tmp_path / "<i>model", tensors, family.config))])
    assert "<b>x" not in page
    assert "<i>model" not in page


def test_two_checkpoints_side_by_side(model, tmp_path, capsys):
    family = FAMILIES["mistral-gqa"]
    other = write(tmp_path / "other", pack(family, seed=1)[0], family.config)
    assert main(["audit", "--compare", str(model), str(other), "--out", str(tmp_path / "out"), "--top", "2"]) == 0
    out = capsys.readouterr().out
    changes = pl.read_parquet(tmp_path / "out" / "comparison.parquet")["ratio_change"]
    assert f"{max(changes, key=abs):.4f}" in out
    assert pl.read_parquet(tmp_path / "out" / "audit.parquet")["model"].n_unique() == 2
    assert main(["audit", str(model), str(model), str(model)]) == 0
    assert re.findall(r"model( \(\d\))", capsys.readouterr().out) == [" (2)", " (3)"]


def test_a_partly_known_checkpoint_shows_both(model, capsys):
    family = FAMILIES["mistral-gqa"]
    tensors = pack(family)[0] | {"model.layers.9.linear_attn.in_proj_qkvz.weight": np.ones((4, 4), np.float32)}
    write(model, tensors, family.config)
    assert main(["audit", str(model)]) == 0
    assert "skipped: model.layers.9.linear_attn: linear attention" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "on the Hugging Face hub; see mesocosm audit --help"),
        (["MODEL", "--hedas", "3"], "perhaps you meant --heads or --help; see mesocosm audit --help"),
        (["MODEL", "--heads", "2"], "--heads 2: config.json states 4; omit the option, or name another config with --config; see mesocosm audit --help"),
        (["MODEL", "--kv-heads", "4"], "--kv-heads 4: config.json states 2"),
        (["MODEL", "--draws", "1"], "--draws 2 or more"),
        (["MODEL", "--map", "qkv=layers.0.wqkv.weight", "--map", "output=layers.0.wo.weight"], "InternLM2 packs by key head"),
        (["nowhere.safetensors"], "there is no file or directory 'nowhere.safetensors'"),
        (["MODEL", "--compare"], "--compare takes two checkpoints, not 1"),
        (["MODEL", "--sort", "beauty"], "--sort beauty: the columns are model, layer, head"),
        (["MODEL", "--sort", "beauty"], "reason, block, part, layout; see mesocosm audit --help"),
        (["MODEL", "--top", "-1"], "must be 0 or more"),
        (["MODEL", "--map", "query"], "--map query: write role=name"),
        (["MODEL", "--out", "MODEL/model.safetensors"], "cannot write to"),
        (["EMPTY"], "no tensor has a name that looks like attention"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(words, told, model, tmp_path, capsys):
    write(tmp_path / "empty", {"a.weight": np.ones((2, 2), np.float32)})
    words = [word.replace("MODEL", str(model)).replace("EMPTY", str(tmp_path / "empty")) for word in words]
    assert main(["audit", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_checkpoint_of_skipped_blocks_alone_ends_with_two_and_says_why(model, capsys):
    (model / "config.json").unlink()
    assert main(["audit", str(model)]) == 2
    assert "use --heads N" in capsys.readouterr().out


@pytest.mark.whole
def test_an_audit_loads_neither_jax_nor_torch(model, tmp_path):
    code = f"""
import sys
from mesocosm.cli import main
code = main(["audit", {str(model)!r}, "--out", {str(tmp_path / "out")!r}])
loaded = [name for name in ("jax", "torch", "equinox", "optax", "transformers") if name in sys.modules]
sys.exit(f"loaded {{loaded}}" if loaded else code)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_map_with_more_cells_than_can_be_drawn_shows_means_over_heads(model):
    small = audit(model)
    rows = pl.concat([small.rows.with_columns(layer=pl.lit(layer, pl.Int64)) for layer in range(700)])
    chart = heat_map(Audit("large", rows, small.spectra), "score", "score")
    cells = next(iter(chart["datasets"].values()))
    assert len(cells) == 700 * 2  # both products of a layer
    one = [cell["value"] for cell in cells if cell["layer"] == 5 and cell["panel"].startswith("QK")]
    assert one == [pytest.approx(small.rows.filter(product="QK")["score"].mean())]
