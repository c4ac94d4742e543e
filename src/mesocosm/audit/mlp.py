r"""The two matrices of MLPs under the names of common libraries: $W_{out}$ and $W_{in}$, in gated MLPs that of the path without the activation.

The product $W_{out} W_{in}$ is what the MLP would compute if it were linear. An elementwise nonlinearity stands between the factors, so that they cannot be
rotated against each other, and of the law of weight decay only the diagonal can hold: the two norms of each hidden unit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mesocosm.audit.checkpoint import Checkpoint
from mesocosm.audit.errors import Skip
from mesocosm.audit.layouts import natural
from mesocosm.audit.measure import Pair

NOTE = "an activation between the factors: the law holds for the imbalance's diagonal at most"


class Names(NamedTuple):
    """How a family of models names an MLP.

    Attributes:
        family: its name.
        first: a regular expression for the matrix into the hidden units, with the group `block`.
        second: the name of the matrix out of them, below the block.
        packed: whether the first holds two matrices, of which the second has no activation.
    """

    family: str
    first: str
    second: str
    packed: bool = False


MLPS = (
    Names("up and down", r"(?P<block>.*)\.up_proj\.weight", "down_proj"),
    Names("Phi-3", r"(?P<block>.*)\.gate_up_proj\.weight", "down_proj", packed=True),
    Names("ModernBERT", r"(?P<block>.*)\.Wi\.weight", "Wo", packed=True),
    Names("w1, w2, w3", r"(?P<block>.*)\.w3\.weight", "w2"),
    Names("T5, gated", r"(?P<block>.*)\.wi_1\.weight", "wo"),
    Names("T5", r"(?P<block>.*)\.wi\.weight", "wo"),
    Names("GPT-2", r"(?P<block>.*)\.c_fc\.weight", "c_proj"),
    Names("GPT-NeoX", r"(?P<block>.*)\.dense_h_to_4h\.weight", "dense_4h_to_h"),
    Names("fc", r"(?P<block>.*)\.fc1\.weight", "fc2"),
    Names("BERT", r"(?P<block>.*)\.intermediate\.dense\.weight", "output.dense"),
    Names("ALBERT", r"(?P<block>.*)\.ffn\.weight", "ffn_output"),
    Names("DistilBERT", r"(?P<block>.*)\.lin1\.weight", "lin2"),
    Names("OpenAI Whisper", r"(?P<block>.*\.mlp)\.0\.weight", "2"),
)


class Mlp(NamedTuple):
    """An MLP in a checkpoint.

    Attributes:
        name: the common prefix of its tensors' names.
        names: how it is stored.
        first, second: its tensors.
    """

    name: str
    names: Names
    first: str
    second: str


def find_mlps(names: Iterable[str]) -> list[Mlp]:
    """All MLPs of a checkpoint with known names, in the order of layers."""
    matches = [(match["block"], known, name) for name in names for known in MLPS if (match := re.fullmatch(known.first, name))]
    return sorted((Mlp(block, known, name, f"{block}.{known.second}.weight") for block, known, name in matches), key=lambda mlp: natural(mlp.name))


def mlp_pair(checkpoint: Checkpoint, mlp: Mlp) -> Pair:
    """The factors of an MLP's product.

    Raises:
        Skip: a matrix is missing, or their shapes do not fit.
    """
    if mlp.second not in checkpoint.tensors:
        raise Skip(f"missing: {mlp.second}")
    shapes = [checkpoint.tensors[name].shape for name in (mlp.first, mlp.second)]
    inputs_first = mlp.names.family == "GPT-2" and len(shapes[0]) == 2 and shapes[0][0] < shapes[0][1]  # nanoGPT's linear layers are not
    first, second = (checkpoint.matrix(name, inputs_first=inputs_first) for name in (mlp.first, mlp.second))
    if inputs_first:
        first, second = first.T, second.T
    if mlp.names.packed:
        first = first[len(first) // 2 :]
    if first.ndim != 2 or first.shape != second.shape[::-1]:
        raise Skip(f"{mlp.first} and {mlp.second} have shapes {list(shapes[0])} and {list(shapes[1])}, which do not fit")
    return Pair("MLP", 0, 1, second, first.T)
