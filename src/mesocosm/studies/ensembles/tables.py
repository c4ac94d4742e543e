"""Tables of the ensembles study, for its claims and measures."""

from mesocosm.claims.tables import Axis, Estimate, Table, Value

# --- widths -----------------------------------------------------------------------------------------------------------


class Linear(Table):
    """Variances of the linear network, found and predicted."""

    width: Axis
    part: Axis
    found: Value
    predicted: Value


class Widths(Table):
    """Variances by width and part."""

    width: Axis
    full: Value
    function: Value
    kernel: Value
    interaction: Value
    function_interaction: Value


class Limits(Table):
    """Predictions from one neuron, and for the infinitely wide ensemble."""

    kernel: Value
    interaction: Value
    function: Value
    ntk_gp: Value


class Wide(Table):
    """Distances of trained ensembles from their kernel models."""

    width: Axis
    gd: Value
    gd_c: Value
    gd_a: Value
    mismatched: Value


# --- the plane --------------------------------------------------------------------------------------------------------


class Correlations(Table):
    """Rank correlations of each part of the variance with distance and angle over the plane."""

    part: Axis
    network: Axis
    distance: Value
    turned_distance: Value
    angle: Value
    turned_angle: Value


# --- pictures ---------------------------------------------------------------------------------------------------------


class KernelDetection(Table):
    """Kernel models on pictures: variances inside and outside, and their AUROC."""

    part: Axis
    network: Axis
    inside: Axis
    outside: Axis
    digest: Value
    variance_inside: Value
    variance_half: Value
    variance_other_half: Value
    variance_outside: Value
    limit_inside: Value
    auroc: Estimate
    gain: Estimate
    inside_auroc: Estimate


class AtOneLoss(Table):
    """Ensembles trained to a common loss."""

    variant: Axis
    inside: Axis
    digest: Value
    worst_train_loss: Value
    variance_inside: Value
    variance_error: Value


class Trained(AtOneLoss):
    """A variant on one data set."""

    inside_auroc: Estimate
    accuracy_gain: Estimate


class TrainedDetection(Table):
    """A variant's AUROC for each outside set."""

    variant: Axis
    inside: Axis
    outside: Axis
    digest: Value
    variance_outside: Value
    auroc: Estimate
    gain: Estimate


class NetworksAlone(Table):
    """Accuracy without the offsets."""

    variant: Axis
    inside: Axis
    digest: Value
    accuracy_gain: Estimate


class Sweep(AtOneLoss):
    """Ensembles of several shapes and read-out scales."""

    network: Axis
    outside: Axis
    width: Axis
    variance_outside: Value
    auroc: Estimate
    gain: Estimate
