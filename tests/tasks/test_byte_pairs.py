"""Byte pairs: what is learned, against a slow independent form; encodings that can be undone; runs of equal tokens; texts that are too short."""

from collections import Counter
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesocosm.tasks.byte_pairs import BytePairs
from mesocosm.tasks.text import Text


def replaced(tokens, pair, token):
    """Replace from left to right, one token after the other."""
    out, place = [], 0
    while place < len(tokens):
        if tuple(tokens[place : place + 2]) == pair:
            out.append(token)
            place += 2
        else:
            out.append(tokens[place])
            place += 1
    return out


def slowly(text, size):
    tokens, merges = list(text.encode()), []
    for token in range(256, size):
        counts = Counter(pairwise(tokens))
        most = max(counts.values())
        merges.append(min(pair for pair, count in counts.items() if count == most))
        tokens = replaced(tokens, merges[-1], token)
    return tuple(merges), tokens


@pytest.mark.whole
@settings(max_examples=30, deadline=None)
@given(st.text("abä ", min_size=30, max_size=80))
def test_pairs_are_those_of_the_slow_form(text):
    encoding = BytePairs.of(text, 259)
    merges, tokens = slowly(text, 259)
    assert encoding.merges == merges
    assert encoding.encode(text).tolist() == tokens
    assert encoding.size == 259


@pytest.mark.whole
@settings(max_examples=30, deadline=None)
@given(st.text(min_size=0, max_size=60))
def test_encodings_can_be_undone(text):
    text = text.encode(errors="replace").decode()
    encoding = BytePairs(((97, 97), (256, 256), (0xC3, 0xA4), (32, 257)))
    tokens = encoding.encode(text)
    assert encoding.decode(tokens) == text == encoding.decode(jnp.asarray(tokens))


@pytest.mark.parametrize(
    ("text", "tokens"), [("aaa", [256, 97]), ("aaaa", [256, 256]), ("aaaaa", [256, 256, 97]), ("baab", [98, 256, 98]), ("aabaaa", [256, 98, 256, 97])]
)
def test_runs_are_replaced_from_the_left(text, tokens):
    assert BytePairs(((97, 97),)).encode(text).tolist() == tokens


def test_a_cut_character_is_marked():
    assert BytePairs(()).decode(np.asarray([97, 0xC3])) == "a\ufffd"


def test_a_size_that_the_text_cannot_fill_is_refused():
    with pytest.raises(ValueError, match="size = 255"):
        BytePairs.of("text", 255)
    with pytest.raises(ValueError, match="after 1 pairs; size = 260 is too large"):
        BytePairs.of("abcdab", 260)


def test_windows_of_pairs_are_parts_of_the_text():
    content = "the cat and the hat and the bat sat on the mat. " * 200
    encoding = BytePairs.of(content, 270)
    task = Text.create(content, 8, encoding, groups=2, held_out=0.3)
    assert task.vocabulary == 270
    assert len(task.corpus) < len(content) / 2
    assert encoding.decode(task.corpus) == content
