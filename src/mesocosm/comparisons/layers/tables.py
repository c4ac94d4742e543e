"""Tables of the comparison of layers."""

from mesocosm.claims.tables import Axis, Estimate, Table, Value


class Pilot(Table):
    """The search: loss on new examples, for each pilot seed with its learning rate, and whether the training stopped being finite."""

    layer: Axis
    task: Axis
    learning_rate: Axis
    loss: Value
    diverged: Value


class Score(Table):
    """$1 - L / L_0$ with the loss $L_0$ (`constant`) of the best constant prediction, for each split."""

    layer: Axis
    task: Axis
    split: Axis
    digest: Value
    learning_rate: Value
    diverged: Value
    score: Estimate
    loss: Value
    constant: Value


class Accuracy(Table):
    """The fraction of right symbols, on tasks with symbols."""

    layer: Axis
    task: Axis
    split: Axis
    digest: Value
    accuracy: Estimate


class Cost(Table):
    """Parameters of a layer and of its block, and at each length operations for a token and memory of the layer's gradient."""

    layer: Axis
    length: Axis
    layer_parameters: Value
    hidden: Value
    block_parameters: Value
    wanted_parameters: Value
    operations_per_token: Value
    memory_bytes: Value
