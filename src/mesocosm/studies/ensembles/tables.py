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
    """Rank correlations of each part of the variance with distance and angle over the plane; `_alone`, with the norm and the other held fixed."""

    part: Axis
    network: Axis
    distance: Value
    turned_distance: Value
    distance_alone: Value
    turned_distance_alone: Value
    angle: Value
    turned_angle: Value
    angle_alone: Value


# --- pictures ---------------------------------------------------------------------------------------------------------


class KernelDetection(Table):
    """Kernel models on pictures: variances inside and outside, their log ratios, and their AUROC."""

    part: Axis
    network: Axis
    inside: Axis
    outside: Axis
    digest: Value
    variance_inside: Value
    outside_ratio: Estimate
    halves_ratio: Estimate
    auroc: Estimate
    gain: Estimate
    inside_auroc: Estimate


class KernelLimits(Table):
    """Log ratios of variances inside to that of the infinitely wide ensemble."""

    part: Axis
    network: Axis
    inside: Axis
    digest: Value
    ratio: Estimate


class KernelSlopes(Table):
    """Slopes of log variance inside on log width and on log depth."""

    along: Axis
    of: Axis
    inside: Axis
    digest: Value
    slope: Estimate


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


class Accuracies(Table):
    """Accuracy of some ensembles, less that of gd."""

    ensemble: Axis
    inside: Axis
    digest: Value
    gain: Estimate


class TrainedDetection(Table):
    """A variant's AUROC for each outside set."""

    variant: Axis
    inside: Axis
    outside: Axis
    digest: Value
    variance_outside: Value
    auroc: Estimate
    gain: Estimate


class Sweep(AtOneLoss):
    """Ensembles of several shapes and read-out scales."""

    network: Axis
    outside: Axis
    width: Axis
    variance_outside: Value
    auroc: Estimate
    gain: Estimate


class SweepShares(Table):
    """Log ratios of kernel noise's share of the variance inside, between two networks of the sweep, or two halves of one network's members."""

    comparison: Axis
    digest: Value
    growth: Estimate
