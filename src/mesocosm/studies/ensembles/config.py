"""Config and presets of the ensembles study. The paper's sizes are unknown to us; ours were searched on pilot seeds (search.csv)."""

from dataclasses import dataclass, field, replace
from typing import Literal

from mesocosm.studies.interface import Preset

HALF = "gd, half the members"
"""A variant's name in the tables: gd with half the members and all its noise, averaged over as many halves as there are members."""
HALF_CENTRED = "gd-c, half the members"
"""The same for gd-c: as many networks as gd has, since each member also needs the network that it started from."""
SINGLE = "gd, one member"
"""One member of gd, averaged over all."""


@dataclass(frozen=True)
class Identities:
    """Random instances for the identities."""

    instances: int = 100
    dim: int = 3
    width: int = 16
    train: int = 4
    test: int = 5
    members: int = 6


@dataclass(frozen=True)
class LinearNetwork:
    """One hidden layer without nonlinearity, whose variances have closed forms."""

    dim: int = 8
    train: int = 3
    test: int = 20
    widths: tuple[int, ...] = (100, 400)
    members: int = 16_000


@dataclass(frozen=True)
class Scaling:
    """One hidden ReLU layer at several widths."""

    dim: int = 4
    train: int = 6
    test: int = 40
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    members: int = 300
    neurons: int = 100_000
    """Neurons sampled for the one-neuron prediction."""
    at_once: int = 64
    """Members computed side by side."""


@dataclass(frozen=True)
class Wide:
    """ReLU networks trained by full-batch gradient descent, compared with the kernel models that they should approach."""

    problem: Scaling = field(default_factory=lambda: Scaling(test=20, train=3))
    widths: tuple[int, ...] = (64, 256, 1024)
    members: int = 5
    steps: int = 2000
    learning_rate: float = 1.0


@dataclass(frozen=True)
class Toy:
    """Regression in the plane: +1 on one group of points, -1 on another."""

    width: int = 256
    members: int = 100
    grid: int = 20
    """Points along each axis of the square from -3 to 3."""
    bias_scale: float = 0.3
    at_once: int = 20


@dataclass(frozen=True)
class Pair:
    """Two classes to tell apart, and the out-of-distribution set."""

    inside: str
    classes: tuple[int, int]
    outside: str


@dataclass(frozen=True)
class KernelImages:
    """Kernel models of networks on real pictures, with two classes as +1 and -1."""

    pairs: tuple[Pair, ...] = (Pair("mnist-5k", (3, 5), "fashion-mnist"), Pair("fashion-mnist", (0, 6), "mnist-5k"))
    networks: tuple[str, ...] = ("mlp-1-128", "mlp-1-512", "mlp-3-128", "cnn-32")
    """mlp-DEPTH-WIDTH or cnn-WIDTH; a CNN has two convolutions."""
    widths: tuple[int, ...] = (512, 1024, 2048, 4096)
    """Widths of one hidden layer over which slopes are taken; many times the number of training pictures, where kernel noise should be of order 1/n."""
    depths: tuple[int, ...] = (1, 2, 3, 4)
    """Numbers of hidden layers over which slopes are taken."""
    deep_width: int = 512
    """Width of the networks of several depths."""
    train: int = 100
    test: int = 180
    members: int = 24
    averaged: int = 24
    """Other networks over which a CNN's kernel is averaged; an MLP's average is analytic."""
    readouts: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
    """Read-out scales at which the full model is scored."""
    at_once: int = 1
    """Members computed side by side."""

    def scaling(self) -> dict[str, dict[str, int]]:
        """The networks along each axis of size, with their sizes."""
        return {
            "width": {f"mlp-1-{width}": width for width in self.widths},
            "depth": {f"mlp-{depth}-{self.deep_width}": depth for depth in self.depths},
        }


@dataclass(frozen=True)
class TrainedImages:
    """Ensembles trained by Adam on ten classes, all variants to the same training loss."""

    inside: str = "mnist-5k"
    outside: str = "fashion-mnist"
    train: int = 500
    test: int = 1000
    pooling: int = 2
    """Side of the squares over which pixels are averaged: 2 turns 28 x 28 into 14 x 14, a quarter of the first layer's work."""
    width: int = 256
    depth: int = 1
    readout: float = 1.0
    """Scale of the read-out. The learning rate is divided by it, so that outputs move equally fast."""
    parametrisation: Literal["tangent", "standard"] = "tangent"
    """`standard` uses Equinox's own layers, with biases."""
    members: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-2
    goal: float = 3e-3
    """Mean squared error on the training set at which a member stops."""
    steps: int = 4000
    """Largest number of updates."""
    check_every: int = 25
    score: Literal["output-variance", "probability-variance", "predictive-entropy"] = "output-variance"
    over_members: Literal["vmap", "map"] = "vmap"


@dataclass(frozen=True)
class TrainedSweep:
    """Ensembles of a narrow shallow network and of networks that differ from it in one aspect, each trained to the same loss."""

    trained: TrainedImages = field(default_factory=lambda: TrainedImages(train=200, width=64, steps=6000))
    """The narrow shallow network, read-out scale 1."""
    wide: int = 256
    """Width of the wide one."""
    deep: int = 3
    """Hidden layers of the deep one."""
    readouts: tuple[float, ...] = (0.25, 2.0)
    """Read-out scales, from small to large."""

    def arms(self) -> dict[str, TrainedImages]:
        """Name -> config of each arm."""
        base = self.trained
        shapes = {"base": base, "wide": replace(base, width=self.wide), "deep": replace(base, depth=self.deep)}
        return shapes | {f"readout-{place}": replace(base, readout=scale) for place, scale in enumerate(self.readouts)}


@dataclass(frozen=True)
class Config:
    """Config of the ensembles study."""

    identities: Identities = field(default_factory=Identities)
    linear: LinearNetwork = field(default_factory=LinearNetwork)
    scaling: Scaling = field(default_factory=Scaling)
    wide: Wide = field(default_factory=Wide)
    toy: Toy = field(default_factory=Toy)
    kernels: KernelImages = field(default_factory=KernelImages)
    trained: TrainedImages = field(default_factory=TrainedImages)
    sweep: TrainedSweep = field(default_factory=TrainedSweep)
    images: bool = True
    """Run the trials on real pictures."""


_SMOKE = Config(
    linear=LinearNetwork(members=500),
    scaling=Scaling(widths=(32, 128), members=20, neurons=10_000, at_once=10, test=5),
    wide=Wide(Scaling(test=5), widths=(32, 64), members=2, steps=20),
    toy=Toy(width=16, members=6, grid=5, at_once=3),
    kernels=KernelImages(
        networks=("mlp-1-16", "mlp-1-32", "mlp-3-16", "cnn-4"),
        widths=(16, 32),
        depths=(1, 2),
        deep_width=16,
        train=10,
        test=20,
        members=3,
        averaged=3,
    ),
    trained=TrainedImages(train=40, test=20, width=16, members=3, batch_size=10, steps=20, check_every=5),
    sweep=TrainedSweep(TrainedImages(train=40, test=20, width=8, members=3, batch_size=10, steps=20, check_every=5), wide=8, deep=2, readouts=(0.5, 2.0)),
)

_PAPER = Config(
    linear=LinearNetwork(members=40_000),
    scaling=Scaling(widths=(64, 128, 256, 512, 1024, 2048), members=1000, neurons=200_000),
    wide=Wide(Scaling(train=3), widths=(128, 256, 512, 1024, 2048), members=10),
    toy=Toy(members=200, grid=61),
    kernels=KernelImages(networks=("mlp-1-128", "mlp-1-512", "mlp-3-128", "cnn-32", "mlp-2-256", "mlp-3-512"), test=190, members=200, averaged=200),
    trained=TrainedImages(train=1000, pooling=1, depth=2),
    sweep=TrainedSweep(TrainedImages(train=1000, pooling=1, width=128), wide=512, readouts=(0.25, 0.5, 2.0)),
)
"""Our choice; the paper's sizes are unknown to us."""

PRESETS = {
    "smoke": Preset(_SMOKE, seeds=2),
    "quick": Preset(
        replace(Config(), images=False), seeds=16, minutes={"identities": 0.08, "linear-network": 0.31, "widths": 0.18, "wide-trained": 0.31, "toy": 0.28}
    ),
    "cpu": Preset(
        Config(),
        seeds=12,
        minutes={
            "kernels-fashion-mnist": 11.0,
            "identities": 0.12,
            "trained-mnist-5k": 2.9,
            "wide-trained": 0.87,
            "trained-sweep": 6.1,
            "toy": 1.4,
            "trained-fashion-mnist": 12.0,
            "widths": 1.1,
            "kernels-mnist-5k": 15.0,
            "linear-network": 0.79,
        },
    ),
    "paper": Preset(_PAPER, seeds=10),
}
