"""Symbolic Raven matrices: every row follows its rule, the tokens show what they should, and other answers are found as by a plain search."""

from dataclasses import replace
from itertools import permutations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from mesocosm.tasks.raven_matrices import RavenMatrices, accuracy, other_answers
from mesocosm.tasks.raven_rules import RULES, Distribution, Progression, Sum, distinct_rules
from mesocosm.tasks.task import batch

SMALL = RavenMatrices.create(features=2, symbols=5)
PAPER = RavenMatrices.create()


def draw(task, size, split="train", seed=0):
    return jax.jit(batch, static_argnums=(2, 3))(task, jax.random.key(seed), size, split)


def answers(table, rule, symbols):
    """The symbols that a rule allows in the last place of a table (rows, columns), by trying all; none if it does not fit elsewhere."""
    found = []
    for last in range(symbols):
        rows = [[int(s) for s in row] for row in table]
        rows[-1][-1] = last
        if isinstance(rule, Progression):
            fits = all((row[i + 1] - row[i] - rule.step) % symbols == 0 for row in rows for i in range(len(row) - 1))
        elif isinstance(rule, Sum):
            fits = all((row[-1] - row[0] - rule.sign * sum(row[1:-1])) % symbols == 0 for row in rows)
        else:
            fits = len(set(rows[0])) == len(rows[0]) and all(set(row) == set(rows[0]) for row in rows)
        found += [last] * fits
    return found


def test_the_paper_s_split():
    assert (len(PAPER.combinations.train), len(PAPER.combinations.held_out)) == (248, 82)
    assert set(np.asarray(PAPER.combinations.train).flat) == set(range(8))
    assert [rule.title for rule in RULES] == [
        "constant",
        "progression +1",
        "progression +2",
        "progression -1",
        "progression -2",
        "addition",
        "difference",
        "distribution",
    ]


@pytest.mark.parametrize(
    ("task", "split"), [(PAPER, "train"), (PAPER, "ood"), (SMALL, "iid"), (RavenMatrices.create(features=3, symbols=7, grid=4, shuffle_rules=True), "train")]
)
def test_every_row_follows_its_rule_and_tokens_show_all_but_the_last_panel(task, split):
    examples = draw(task, 60, split)
    features = np.asarray(examples.features())
    allowed = {tuple(row) for row in np.asarray(task.combinations.held_out if split == "ood" else task.combinations.train).tolist()}
    count, grid = task.combinations.parts, task.grid
    for i in range(60):
        panels, rules, orders = (np.asarray(field[i]) for field in (examples.panels, examples.rules, examples.orders))
        assert tuple(sorted(rules.tolist())) in allowed
        for place, rule in enumerate(rules):
            table = features[i, :, :, place]
            assert answers(table, RULES[rule], task.symbols) == [table[-1, -1]]
        for row, column, place in np.ndindex(panels.shape):
            assert panels[row, column, place] == features[i, row, column, orders[column, place]]
        tokens = np.asarray(examples.tokens[i])
        assert tokens.shape == (grid * grid * count, task.symbols)
        assert np.all(tokens[:-count].sum(axis=1) == 1)
        assert tokens[:-count].argmax(axis=1).tolist() == panels.reshape(-1)[:-count].tolist()
        assert np.all(tokens[-count:] == 0)
        assert examples.targets[i].tolist() == panels[-1, -1].tolist()
    assert np.all(np.diff(np.asarray(examples.rules), axis=1) >= 0) == (not task.shuffle_rules)


def test_symbols_orders_and_rules_are_uniform():
    examples = draw(replace(SMALL, symbols=4), 8000)
    rules, features = np.asarray(examples.rules), np.asarray(examples.features())
    for place, step in ((0, 0), (0, 1)):  # the constant rule and a progression
        starts = features[rules[:, place] == step][:, :, 0, place]
        assert chisquare(np.bincount(starts @ [16, 4, 1], minlength=64)).pvalue > 1e-3
    sums = features[rules[:, 1] == 5][:, :2, :2, 1].reshape(-1, 4)
    assert chisquare(np.bincount(sums @ [64, 16, 4, 1], minlength=256)).pvalue > 1e-3
    orders = np.asarray(examples.orders)[:, :, 0]
    assert chisquare(np.bincount(orders @ [4, 2, 1], minlength=8)).pvalue > 1e-3
    distributed = features[rules[:, 1] == 7][:, :, :, 1]
    keys = [int(row @ [16, 4, 1]) for row in distributed[:, 0]]
    assert chisquare(np.unique(keys, return_counts=True)[1]).pvalue > 1e-3
    assert len(set(keys)) == 4 * 3 * 2
    moves = np.argmax(distributed[:, 1:, :, None] == distributed[:, :-1, None, :], axis=-1)  # from each row to the next: independent, so all 6 * 6 alike
    assert chisquare(np.unique(moves.reshape(-1, 6) @ 3 ** np.arange(6), return_counts=True)[1]).pvalue > 1e-3
    assert len(np.unique(moves.reshape(-1, 6), axis=0)) == 36


@pytest.mark.whole
def test_without_permutation_features_keep_their_places():
    examples = draw(replace(PAPER, permute=False), 20)
    assert jnp.array_equal(examples.features(), examples.panels)
    assert not jnp.array_equal(draw(PAPER, 20).features(), draw(PAPER, 20).panels)


def by_search(panels, symbols, rules):
    """Every assignment of places to features in every column, every combination of fitting rules."""
    grid, count = panels.shape[1:]
    somewhere = everywhere = False
    for orders in product(permutations(range(count)), repeat=grid):
        candidates = []
        for feature in range(count):
            table = np.stack([panels[:, column, orders[column][feature]] for column in range(grid)], axis=1)
            true = table[-1, -1]
            candidates.append({answer != true for rule in rules for answer in answers(table, rule, symbols)})
        if all(candidates):
            somewhere |= any(True in found for found in candidates)
            everywhere |= all(True in found for found in candidates)
    return somewhere, everywhere


@pytest.mark.parametrize("rules", [RULES, (Progression(1), Sum(-1), Distribution())])
def test_other_answers_are_those_of_a_plain_search(rules):
    panels = np.array(draw(replace(SMALL, symbols=3), 60).panels)
    panels[::6, 0, 0, 0] = (panels[::6, 0, 0, 0] + 1) % 3  # matrices that may have no explanation
    found = jax.jit(jax.vmap(lambda one: other_answers(one, 3, rules)))(jnp.asarray(panels))
    wanted = [by_search(one, 3, rules) for one in panels]
    assert list(zip(found.somewhere.tolist(), found.everywhere.tolist(), strict=True)) == wanted
    assert len(set(wanted)) == 3


@pytest.mark.whole
def test_other_answers_of_matrices_known_by_hand():
    """Two constant features; then 0 0 0 twice, which addition also explains, and differently where the last row begins with 1 1."""
    plain = jnp.asarray([[[1, 2]] * 3, [[3, 4]] * 3, [[5, 1]] * 3])
    assert tuple(map(bool, other_answers(plain, 8))) == (False, False)
    zero = jnp.asarray([[[0, 2]] * 3, [[0, 4]] * 3, [[1, 1]] * 3])
    assert tuple(map(bool, other_answers(zero, 8))) == (True, False)
    both = jnp.asarray([[[0, 0]] * 3, [[0, 0]] * 3, [[1, 2]] * 3])
    assert tuple(map(bool, other_answers(both, 8))) == (True, True)


@pytest.mark.whole
def test_rejection_leaves_one_answer_and_the_rules_alone():
    task = replace(SMALL, symbols=6)
    plain, rejected = draw(task, 300), draw(replace(task, reject_ambiguous=True), 300)
    ambiguous = jax.jit(jax.vmap(lambda one: other_answers(one, 6).somewhere))
    assert 0.05 < float(jnp.mean(ambiguous(plain.panels))) < 0.4
    assert not bool(jnp.any(ambiguous(rejected.panels)))
    assert jnp.array_equal(plain.rules, rejected.rules)
    assert np.isfinite(rejected.tokens).all()


@pytest.mark.whole
def test_where_no_matrix_has_one_answer_tokens_are_nan():
    """Both rules fit every row; they differ in the answer."""
    twice = RavenMatrices.create(features=1, symbols=3, held_out=0.5, rules=(Sum(1), Sum(-1)), require_coverage=False, reject_ambiguous=True)
    hopeless = replace(twice, rules=(Either(1), Either(2)))
    assert np.isnan(hopeless.sample(jax.random.key(0)).tokens).all()


class Either(Sum):
    """A rule that fits every grid."""

    def complete(self, grid, symbols):
        return super().complete(grid, symbols)._replace(fits=jnp.ones(grid.shape[:-2], bool), symbol=(grid[..., -1, -1] + self.sign) % symbols)


@pytest.mark.whole
def test_accuracy_counts_matrices_and_features():
    example = draw(SMALL, 4)
    logits = jax.nn.one_hot(example.targets, 5).at[0, 1].set(jax.nn.one_hot((example.targets[0, 1] + 1) % 5, 5))
    assert tuple(accuracy(logits, example)) == (0.75, 0.875)


def test_impossible_tasks_are_refused():
    with pytest.raises(ValueError, match="grid of at least 3"):
        RavenMatrices.create(grid=2)
    with pytest.raises(ValueError, match="207360000 readings"):
        RavenMatrices.create(features=5, symbols=8, grid=5, reject_ambiguous=True)


@pytest.mark.parametrize(("symbols", "grid", "repeated"), [(3, 3, {3, 4}), (4, 3, {4}), (5, 3, set()), (8, 3, set()), (4, 4, {4})])
def test_rules_that_are_the_same_for_few_symbols_are_left_out_or_refused(symbols, grid, repeated):
    """Steps are counted modulo the number of symbols; no other rules of the paper coincide."""
    kept = distinct_rules(RULES, symbols, grid)
    assert kept == tuple(rule for place, rule in enumerate(RULES) if place not in repeated)
    if repeated:
        with pytest.raises(ValueError, match=f"with {symbols} symbols, only {len(kept)} of 8 rules differ"):
            RavenMatrices.create(features=2, symbols=symbols, grid=grid)
    made = RavenMatrices.create(features=2, symbols=symbols, grid=grid, rules=kept)
    lists = (made.combinations.train, made.combinations.held_out)
    assert sum(map(len, lists)) == len(kept) * (len(kept) + 1) // 2


@pytest.mark.whole
def test_a_rule_is_equal_to_itself_alone():
    assert len({Progression(1), Sum(1), Progression(1), Distribution()}) == 3
    with pytest.raises(ValueError, match="only 1 of 2 rules differ"):
        RavenMatrices.create(features=2, rules=(Sum(1), Sum(1)))


@pytest.mark.whole
def test_features_are_drawn_independently():
    examples = draw(replace(SMALL, symbols=4), 8000)
    firsts = np.asarray(examples.features())[:, 0, 0]
    assert chisquare(np.bincount(firsts @ [4, 1], minlength=16)).pvalue > 1e-3


@pytest.mark.whole
def test_shuffled_rules_are_in_every_order_alike():
    rules = np.asarray(draw(RavenMatrices.create(features=3, symbols=5, shuffle_rules=True), 3000).rules)
    distinct = rules[[len(set(row)) == 3 for row in rules.tolist()]]
    counts = np.unique(np.argsort(distinct, axis=1) @ [9, 3, 1], return_counts=True)[1]
    assert len(counts) == 6
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.whole
def test_other_answers_of_three_features_are_those_of_a_plain_search():
    rules = (Progression(0), Progression(1), Sum(1))
    panels = draw(RavenMatrices.create(features=3, symbols=3, rules=rules, held_out=0.5), 12).panels
    found = jax.jit(jax.vmap(lambda one: other_answers(one, 3, rules)))(panels)
    wanted = [by_search(np.asarray(one), 3, rules) for one in panels]
    assert list(zip(found.somewhere.tolist(), found.everywhere.tolist(), strict=True)) == wanted
    assert len(set(wanted)) > 1


@pytest.mark.whole
def test_rules_complete_grids_of_four():
    """All tables of all rules, and tables with one wrong symbol, against trying all last symbols."""
    tables = np.moveaxis(np.asarray(draw(RavenMatrices.create(features=3, symbols=7, grid=4), 20).features()), -1, 1).reshape(-1, 4, 4)
    wrong = np.array(tables)
    wrong[:, 2, 1] = (wrong[:, 2, 1] + 1) % 7
    for rule in RULES:
        for given in (tables, wrong):
            fits, symbol = rule.complete(jnp.asarray(given), 7)
            wanted = [answers(table, rule, 7) for table in given]
            assert [[int(s)] if f else [] for f, s in zip(fits, symbol, strict=True)] == wanted
