"""Students without any training loss that fail on other tasks: each of the theorem's conditions is needed.

Reference: Schug et al., "Discovering modular solutions that generalize compositionally" (2024), App. A.3 (`wide`); the others are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mesocosm.analysis.modules.composed_network import ComposedNetwork


def swapped(teacher: ComposedNetwork, cluster: Sequence[int]) -> ComposedNetwork:
    r"""Hidden units exchanged in the modules of one cluster alone, $\hat\Theta_i = (a_{p(i)} / a_i) \Theta_{p(i)}$ with a cyclic permutation p among units of
    equal sign.

    Right on all codes that are active inside the cluster or outside it, wrong on mixed ones: connected support is needed.

    Raises:
        ValueError: there is more than one output (no two units can then be exchanged), or no two units have readouts of equal sign.
    """
    modules, readout = (np.array(part) for part in teacher)
    if readout.shape[0] != 1:
        raise ValueError(f"units can be exchanged if there is one output; this teacher has {readout.shape[0]}")
    permutation, a = np.arange(readout.shape[1]), readout[0]
    for sign in (1, -1):
        same = np.flatnonzero(np.sign(a) == sign)
        permutation[same] = np.roll(same, 1)
    if np.all(permutation == np.arange(len(a))):
        raise ValueError("no two hidden units have readouts of the same sign, so that none can be exchanged")
    for module in cluster:
        modules[module] = (a[permutation] / a)[:, None] * modules[module][permutation]
    return ComposedNetwork(jnp.asarray(modules), teacher.readout)


def doubled(teacher: ComposedNetwork, cluster: Sequence[int]) -> ComposedNetwork:
    """Twice as many hidden units: one half has the modules of a cluster, the other half the rest.

    Right inside and outside the cluster, wrong on mixed codes.
    """
    inside = np.isin(np.arange(teacher.modules.shape[0]), list(cluster))[:, None, None]
    halves = [jnp.where(inside, teacher.modules, 0), jnp.where(inside, 0, teacher.modules)]
    return ComposedNetwork(jnp.concatenate(halves, axis=1), jnp.concatenate([teacher.readout] * 2, axis=1))


def wide(teacher: ComposedNetwork) -> ComposedNetwork:
    """For three modules: the units (1, 2, 0), (0, 2, 3) and (0, 2, 0), the last one with the negative readout.

    Right on all codes of the connected support {12, 23}, wrong if all three are active: a student of the teacher's size is needed. It has three times as many
    hidden units.

    Raises:
        ValueError: the teacher does not have three modules.
    """
    if teacher.modules.shape[0] != 3:
        raise ValueError(f"this construction is for 3 modules, not {teacher.modules.shape[0]}")
    kept = np.array([[1, 1, 0], [0, 1, 1], [0, 1, 0]])[:, :, None, None]
    units = jnp.concatenate(list(kept * teacher.modules), axis=1)
    return ComposedNetwork(units, jnp.concatenate([teacher.readout, teacher.readout, -teacher.readout], axis=1))


def split_units(teacher: ComposedNetwork, shares: Float[Array, " hidden"]) -> ComposedNetwork:
    r"""Each unit in two of its direction, with shares $\beta$ and $1 - \beta$ of its readout, and two surplus copies of it that cancel.

    Right on all codes: a student with more units can differ from the teacher so, and need not fail.
    """
    surplus = 0.5 * teacher.modules
    readouts = [shares * teacher.readout, (1 - shares) * teacher.readout / 2, teacher.readout, -teacher.readout]
    units = [teacher.modules, 2 * teacher.modules, surplus, surplus]
    return ComposedNetwork(jnp.concatenate(units, axis=1), jnp.concatenate(readouts, axis=1))
