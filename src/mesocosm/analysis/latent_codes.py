r"""Latent codes of attention: what the weights of a pair of tokens over heads, $a_{qk} \in \mathbb{R}^H$, tell about the operation of a layer.

Arrays are NumPy's, with one row per example. Probes, embeddings and silhouettes are scikit-learn's; without it, they raise `NotInstalled`.

Reference: Schug et al., "Attention as a hypernetwork" (arXiv 2406.05816), Figs. 2, 5, A2 and A6 to A8.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from mesocosm.nn.mixer import Diagnostics
from mesocosm.tasks.data_sets import EXTRA, NotInstalled

Codes = Float[np.ndarray, "layers n size"]
Labels = Integer[np.ndarray, " n"] | Bool[np.ndarray, "n labels"]


def latent_codes(layers: Sequence[Diagnostics | Array | np.ndarray], query: int, keys: Sequence[int]) -> Codes:
    """The codes of a query with some keys, for each layer and example.

    Args:
        layers: attention weights of each layer, shape (n, heads, time, time): diagnostics, as from `jax.vmap(model.explain)(inputs)[1]`, or arrays, as
            other libraries return them.
        query: position of the token that looks; negative ones are counted from the end.
        keys: positions of the tokens that it looks at; their codes are concatenated.

    Raises:
        ValueError: there are no layers, a layer shows no attention, or layers have different numbers of heads or examples.
    """
    if not layers:
        raise ValueError("there are no layers to take codes from")
    found = []
    for place, layer in enumerate(layers):
        attention = layer.attention if isinstance(layer, Diagnostics) else layer
        if attention is None:
            raise ValueError(f"layer {place} shows no attention; it is not an attention layer")
        codes = np.asarray(attention)[:, :, query, list(keys)]
        found.append(np.moveaxis(codes, 1, 2).reshape(len(codes), -1))
    if len(sizes := {len(codes) for codes in found}) > 1:
        raise ValueError(f"layers have different numbers of examples, {sorted(sizes)}")
    if len({codes.shape[1] for codes in found}) > 1:
        raise ValueError(f"layers have codes of sizes {[codes.shape[1] for codes in found]}; analyse layers with different numbers of heads separately")
    return np.stack(found)


class Decoded(NamedTuple):
    """Scores of the probes of each layer on held-out examples.

    Attributes:
        f1: macro F1, the mean over classes, and over labels if an example has several.
        accuracy: fraction of correct classes.
    """

    f1: Float[np.ndarray, " layers"]
    accuracy: Float[np.ndarray, " layers"]


def logistic_probe(codes: Codes, labels: Labels, held_out_codes: Codes, held_out_labels: Labels, *, strength: float = 1.0) -> Decoded:
    """Logistic regression of labels on codes, for each layer; codes are standardised with the mean and deviation of those that are fitted.

    If there is only one class to fit, it is the guess for all examples.

    Args:
        codes, labels: what the probe is fitted on. Labels are a class per example, such as a rule, or several truth values, such as which terms occur, for
            each of which there is a binary probe.
        held_out_codes, held_out_labels: what it is scored on.
        strength: of the L2 penalty, above 0.

    Raises:
        NotInstalled: scikit-learn is missing.
        ValueError: numbers of examples, labels or layers differ or are 0, or the penalty is not positive.
    """
    for name, given, told in (("to fit", codes, labels), ("held out", held_out_codes, held_out_labels)):
        _check_examples(name, given.shape[1], told)
    if labels.shape[1:] != held_out_labels.shape[1:] or len(codes) != len(held_out_codes):
        raise ValueError(
            f"codes and labels to fit and held-out ones differ: {len(codes)} and {len(held_out_codes)} layers, labels of shape {labels.shape[1:]} and "
            f"{held_out_labels.shape[1:]} for an example"
        )
    _check_strength(strength)
    pipeline, linear_model, metrics = _sklearn("pipeline"), _sklearn("linear_model"), _sklearn("metrics")
    columns = [(labels, held_out_labels)] if labels.ndim == 1 else list(zip(labels.T, held_out_labels.T, strict=True))
    f1, accuracy = np.zeros((2, len(codes), len(columns)))
    for layer, (fitted, scored) in enumerate(zip(codes, held_out_codes, strict=True)):
        for column, (known, wanted) in enumerate(columns):
            probe = pipeline.make_pipeline(_sklearn("preprocessing").StandardScaler(), linear_model.LogisticRegression(C=1 / strength, max_iter=10_000))
            guesses = probe.fit(fitted, known).predict(scored) if len(np.unique(known)) > 1 else np.full(len(scored), known[0])
            f1[layer, column] = metrics.f1_score(wanted, guesses, average="macro", zero_division=0.0)
            accuracy[layer, column] = np.mean(guesses == wanted)
    return Decoded(f1.mean(axis=1), accuracy.mean(axis=1))


def ridge_probe(features: Float[np.ndarray, "n features"], codes: Codes, *, strength: float = 1.0, seed: int = 0) -> Float[np.ndarray, " layers"]:
    """How much of the codes some features explain: R^2 of ridge regression with an offset, fitted on a random half and scored on the other.

    It is the mean over the coordinates of a layer's codes that vary in the scored half by more than rounding, or 0 if none does.

    Raises:
        NotInstalled: scikit-learn is missing.
        ValueError: numbers of examples differ or are below 2, there are no features, or the penalty is not positive.
    """
    _check_examples("to explain", codes.shape[1], features)
    if len(features) < 2:
        raise ValueError("a half to fit and a half to score need two examples or more")
    _check_strength(strength)
    order = np.random.default_rng(seed).permutation(len(features))
    fitted, scored = np.split(order, [len(order) // 2])
    scores = []
    for given in codes:
        layer = _from_the_first(given)
        guesses = _sklearn("linear_model").Ridge(alpha=strength).fit(features[fitted], layer[fitted]).predict(features[scored])
        variances = np.var(layer[scored], axis=0)
        errors = np.mean((layer[scored] - guesses) ** 2, axis=0)
        varies = variances > 1e-10 * np.mean(given[scored].astype(np.float64) ** 2, axis=0)
        scores.append(np.mean(1 - errors[varies] / variances[varies]) if varies.any() else 0.0)
    return np.asarray(scores)


def _check_examples(what: str, examples: int, told: np.ndarray) -> None:
    """Refuse codes of so many examples and labels or features of another number, and none."""
    if len(told) != examples or not told.size:
        raise ValueError(f"{what}, there are codes of {examples} examples, and labels or features of shape {told.shape}; each example needs some")


def _check_strength(strength: float) -> None:
    if not strength > 0:
        raise ValueError(f"the penalty of a probe is positive, not {strength}")


def silhouettes(codes: Codes, labels: Integer[np.ndarray, " n"]) -> Float[np.ndarray, " layers"]:
    """How well the codes of each layer cluster by label: the mean silhouette, from -1 to 1, with Euclidean distances.

    Raises:
        NotInstalled: scikit-learn is missing.
    """
    return np.asarray([_sklearn("metrics").silhouette_score(layer, labels) for layer in codes])


def embedding(codes: Float[np.ndarray, "n size"], *, perplexity: float = 30.0, seed: int = 0) -> Float[np.ndarray, "n 2"]:
    """Codes in the plane, by t-SNE from their principal components; equal codes are all at the origin.

    Raises:
        NotInstalled: scikit-learn is missing.
    """
    if not _from_the_first(codes).any():  # scikit-learn crashes
        return np.zeros((len(codes), 2))
    return _sklearn("manifold").TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(codes)


class Similarity(NamedTuple):
    """The cosine of the mean codes of every two labels.

    Attributes:
        labels: which there are.
        cosine: 1 on the diagonal; 0 where a label's mean code is the mean over labels and has no direction.
    """

    labels: Int[np.ndarray, " labels"]
    cosine: Float[np.ndarray, "labels labels"]


def similarity(codes: Float[np.ndarray, "n size"], labels: Integer[np.ndarray, " n"]) -> Similarity:
    """Average the codes of each label, subtract the mean over labels, and compare directions; a label whose mean is that mean has none, and cosines of 0."""
    found = np.unique(labels)
    codes = _from_the_first(codes)
    means = np.stack([codes[labels == label].mean(axis=0) for label in found])
    centred = means - means.mean(axis=0)
    directions = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(centred.dtype).tiny)
    return Similarity(found, directions @ directions.T)


def _from_the_first(codes: Float[np.ndarray, "n size"]) -> Float[np.ndarray, "n size"]:
    """Differences from the first code, so that means of equal codes are exactly equal."""
    return codes.astype(np.float64) - codes[:1]


def _sklearn(module: str) -> Any:
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError:
        raise NotInstalled(f"analyses of latent codes need scikit-learn; to get it: {EXTRA}") from None
