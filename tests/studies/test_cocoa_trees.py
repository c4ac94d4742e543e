"""Variances on the tree against an enumeration in NumPy that counts pairs along episodes and shares no code with the study."""

import itertools

import numpy as np
import polars as pl
import pytest


def walks(depth, branches, overlap, offset, ring):
    """Every action sequence: (states, actions, their indices with action and offset added, number of states)."""
    step, widths = branches - overlap, [1]
    for _ in range(depth):
        widths.append(step * widths[-1] + overlap)
    actions = np.array(list(itertools.product(range(branches), repeat=depth)))
    place, states = np.zeros(len(actions), int), []
    for level in range(depth):
        states.append(sum(widths[:level]) + place)
        place = (place * step + actions[:, level] - ring * (step // 2)) % widths[level + 1]
    states = np.stack(states, axis=1)
    return states, actions, states + 9973 * actions + offset, sum(widths[:depth])


def variances(depth, branches, overlap, offset, groups=(), ring=True):
    """Variance of one episode's gradient over the square of its mean, under the uniform policy, by estimator."""
    states, actions, number, count = walks(depth, branches, overlap, offset, ring)
    episodes, rewards = np.arange(len(states)), number % 5 - 2.0
    pairs = list(itertools.combinations(range(depth), 2))

    def gradients(contributions):
        table = np.zeros((len(states), count, branches))
        for t in range(depth):
            table[episodes, states[:, t]] += (contributions[:, t] - contributions[:, t].mean(axis=1, keepdims=True)) / branches
        return table.reshape(len(states), -1)

    def taken(amounts):
        return branches * np.eye(branches)[actions] * amounts[..., None]

    def cocoa(outcomes):
        seen = np.zeros((count, branches, outcomes.max() + 1))
        for t, k in pairs:
            np.add.at(seen, (states[:, t], actions[:, t], outcomes[:, k]), 1.0)
        mean = seen.mean(axis=1, keepdims=True)
        w, found = np.divide(seen, mean, out=np.ones_like(seen), where=mean > 0) - 1, taken(rewards)
        for t, k in pairs:
            found[:, t] += w[states[:, t], :, outcomes[:, k]] * rewards[:, k, None]
        return gradients(found)

    found = {"reinforce": gradients(taken(np.cumsum(rewards[:, ::-1], axis=1)[:, ::-1]))}
    found |= {"hca-plus": cocoa(states), "cocoa-reward": cocoa(number % 5), "binned": cocoa(np.sign(rewards).astype(int) + 1)}
    found |= {f"groups-{each}": cocoa(number % (5 * each)) for each in groups}
    signal = np.sum(found["reinforce"].mean(axis=0) ** 2)
    return {name: np.sum((each - each.mean(axis=0)) ** 2, axis=1).mean() / signal for name, each in found.items()}


def test_variances_on_the_tree_are_those_of_counted_pairs(smoke_of):
    table = smoke_of("cocoa").table("tree").filter(~pl.col("estimator").str.starts_with("shuffled"))
    assert {*table["overlap"]} == {0, 1}
    for (overlap, offset), rows in table.group_by("overlap", "offset"):
        wanted = variances(3, 3, overlap, offset, groups=(4,))
        assert dict(zip(rows["estimator"], rows["variance"], strict=True)) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("ring", [True, False])
@pytest.mark.parametrize("overlap", [1, 5])
def test_leads_at_the_papers_size_are_what_the_page_says(overlap, ring):
    """In decibels, in all five environments, with children placed as in the authors' code and as in the paper's text."""
    found = [variances(4, 6, overlap, offset, ring=ring) for offset in range(5)]
    leads, gaps = (10 * np.log10([each["reinforce"] / each[name] for each in found]) for name in ("cocoa-reward", "hca-plus"))
    assert 3.85 < leads.min() < leads.max() < 4.45
    assert (gaps > 0.19).all() if overlap == 1 else ((gaps > 1.25) & (gaps < 1.45)).all()
