r"""How far a student's modules are the teacher's, up to what no data can tell apart.

The modules are identified if there are an invertible matrix F, a permutation s of the hidden units, and a sign and a positive scale for each, with
$\hat a_i \hat\Theta_i = \pm\, a_{s(i)} \Theta_{s(i)} F^{-1}$ and $z = F^\top \hat z$, where $\Theta_i$ holds unit i of all modules.

Reference: Schug et al., "Discovering modular solutions that generalize compositionally" (2024), Thm 2 and Sec. 3.4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

Modules = Float[np.ndarray, "modules hidden inputs"]


class Alignment(NamedTuple):
    """Cosines between units, each over all modules and inputs.

    Attributes:
        worst: for each teacher unit the largest |cosine| with a student unit, smallest over teacher units: 1 if all units are found.
        mean: the same, mean over teacher units.
        signed: as `worst`, with the cosine itself.
    """

    worst: float
    mean: float
    signed: float


class Matched(NamedTuple):
    """Student units, one for each teacher unit, by the assignment with the largest sum of |cosines|.

    Attributes:
        units: the student unit of each teacher unit.
        scales: signed factors on the student's units that bring them closest to the teacher's.
        error: norm of what is left over the norm of the teacher's modules.
    """

    units: Int[np.ndarray, " hidden"]
    scales: Float[np.ndarray, " hidden"]
    error: float


def code_map(student: Float[np.ndarray, "tasks student_modules"], teacher: Float[np.ndarray, "tasks modules"], *, l2: float = 0.0) -> np.ndarray:
    r"""$F = \arg\min \|\hat Z F - Z\|^2 + \lambda \|F\|^2$, the linear map from student codes (rows) to teacher codes; of the smallest norm if there are many.

    Returns:
        F, shape (student modules, modules).
    """
    width = student.shape[1]
    rows = np.vstack([student, l2**0.5 * np.eye(width)]) if l2 else student
    goals = np.vstack([teacher, np.zeros((width, teacher.shape[1]))]) if l2 else teacher
    return np.linalg.lstsq(rows, goals, rcond=None)[0]


def in_teacher_basis(modules: Modules, map: Float[np.ndarray, "student_modules modules"]) -> Modules:
    r"""The student's modules for the teacher's codes, $\tilde\Theta = F^+ \hat\Theta$: the code $\hat z = (F^+)^\top z$ has $\sum_t z_t \tilde\Theta^{(t)}$."""
    return np.tensordot(np.linalg.pinv(map), modules, axes=1)


def alignment(teacher: Modules, student: Modules) -> Alignment:
    """Compare a teacher with a student in the teacher's basis (`in_teacher_basis`), which may have more hidden units."""
    cosines = _cosines(teacher, student)
    found = np.abs(cosines).max(axis=1)
    return Alignment(float(found.min()), float(found.mean()), float(cosines.max(axis=1).min()))


def match_units(teacher: Modules, student: Modules) -> Matched:
    """The exact best assignment of student units to teacher units; surplus student units are left out."""
    _, units = linear_sum_assignment(-np.abs(_cosines(teacher, student)))
    ours, theirs = _units(teacher), _units(student)[units]
    scales = np.sum(ours * theirs, axis=1) / np.maximum(np.sum(theirs**2, axis=1), np.finfo(float).tiny)
    return Matched(units, scales, float(np.linalg.norm(ours - scales[:, None] * theirs) / np.linalg.norm(ours)))


def _units(modules: Modules) -> Float[np.ndarray, "hidden features"]:
    return np.moveaxis(modules, 1, 0).reshape(modules.shape[1], -1)


def _cosines(teacher: Modules, student: Modules) -> Float[np.ndarray, "hidden student_hidden"]:
    """Cosines between all units; 0 with a unit of zeros."""
    ours, theirs = (_units(modules) for modules in (teacher, student))
    lengths = np.linalg.norm(ours, axis=1)[:, None] * np.linalg.norm(theirs, axis=1)
    return ours @ theirs.T / np.where(lengths > 0, lengths, 1)
