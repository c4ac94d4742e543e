"""Config and presets of the weight-decay study. Numbers from the paper are marked; the rest is ours or was searched on pilot seeds."""

from dataclasses import dataclass, field, replace

from mesocosm.studies.interface import Preset
from mesocosm.studies.weight_decay.config_networks import Language, Network, Pictures, Recall, Training


@dataclass(frozen=True)
class Factorisation:
    """The paper's 5 x 5 factorisation of a diagonal matrix (Fig. 1), by gradient descent."""

    values: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    """Singular values of the target (paper)."""
    decays: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6)
    """The grid of decays; 0.4 is the paper's."""
    learning_rate: float = 0.05
    steps: int = 1000
    """Updates (paper: shown at 1000)."""
    init_std: float = 0.3
    every: int = 10
    """Steps between two measurements."""


@dataclass(frozen=True)
class Descent:
    """Gradient descent on a random loss that is not quadratic."""

    rows: int = 6
    columns: int = 5
    measurements: int = 40
    noise: float = 0.3
    decay: float = 0.2
    learning_rate: float = 0.005
    steps: int = 2000
    init_std: float = 0.5
    every: int = 40


@dataclass(frozen=True)
class Minima:
    """Random regularised problems, solved to their minimum."""

    instances: int = 100
    rows: int = 6
    columns: int = 5
    measurements: int = 40
    noise: float = 0.3
    """Standard deviation of the measurements' noise, relative to that of one entry of a measurement matrix."""
    decay: float = 1.0
    """Removes about two of five modes."""
    init_std: float = 0.5
    learning_rate: float = 0.005
    momentum: float = 0.9
    steps: int = 20000
    one_steps: int = 400
    """Updates with one factor regularised. That problem has no minimum: the other factor grows forever, until the search diverges."""


@dataclass(frozen=True)
class ScalarPair:
    """Two scalars, direct and factored, under Adam."""

    targets: tuple[float, ...] = (1.0, 0.3)
    decays: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4)
    """Under Adam with L2; the last exceeds the small target."""
    decoupled_decays: tuple[float, ...] = (0.0, 0.2, 0.4, 0.8)
    """Under AdamW."""
    noise: float = 1.0
    """Standard deviation of the targets' noise under AdamW. Without it, the limit hardly depends on the decay."""
    learning_rate: float = 0.02
    steps: int = 4000
    init_std: float = 0.5


@dataclass(frozen=True)
class Adaptive:
    """The factorisation of a rotated target under Adam with L2 and under AdamW."""

    values: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    decays: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4)
    decoupled_decays: tuple[float, ...] = (0.0, 0.2, 0.4, 0.8)
    noise: float = 1.0
    learning_rate: float = 0.02
    steps: int = 4000
    init_std: float = 0.3


@dataclass(frozen=True)
class TwoLayers:
    """A linear network with one hidden layer learns a teacher of low rank, online."""

    width: int = 20
    """Inputs, outputs and hidden neurons."""
    teacher_values: tuple[float, ...] = (1.5, 1.0, 0.7)
    noise: float = 0.1
    batch_size: int = 64
    decay: float = 0.1
    learning_rate: float = 0.02
    steps: int = 5000
    init_std: float = 0.2
    active: float = 1e-3
    """A singular value above this counts as an active direction."""


@dataclass(frozen=True)
class Pruning:
    """A linear network of two layers on whitened inputs without noise, as in Sec. 3.4 of the paper, whose loss is that of approximating $Y X^T$."""

    instances: int = 100
    values: tuple[float, ...] = tuple(round(0.2 * place, 1) for place in range(1, 21))
    """Distinct singular values of $Y X^T$."""
    decay: float = 1.1
    """Above five of them, and 0.1 away from the nearest."""
    learning_rate: float = 0.05
    steps: int = 3000
    init_std: float = 0.2
    active: float = 1e-3


@dataclass(frozen=True)
class Setting:
    """Decay and epsilon of AdamW; Adam with L2 has their product as its decay."""

    decay: float
    epsilon: float


@dataclass(frozen=True)
class Surface:
    """Two scalars at a line (the paper's Fig. 5, of which it gives no number)."""

    instances: int = 100
    slope: tuple[float, float] = (2.0, 1.0)
    offset: float = 1.0
    small: Setting = Setting(0.05, 1.0)
    """Where lambda |w| is small beside 1, as the paper's equivalence asks."""
    large: Setting = Setting(1.0, 0.01)
    """Where it is not."""
    step_size: float = 0.1
    """The learning rate over epsilon, so that both settings move alike."""
    b2: float = 0.95
    """Adam's. The fixed point does not depend on it; a short memory of the second moment comes to rest sooner."""
    steps: int = 10000
    init_std: float = 0.5


@dataclass(frozen=True)
class Noisy:
    """Two factors with momentum, gradient noise and decoupled decay (Prop. B.2)."""

    instances: int = 100
    """Paths on which the identity is checked."""
    values: tuple[float, ...] = (1.0, 0.6, 0.3)
    momentum: float = 10.0
    learning_rate: float = 0.5
    decay: float = 0.2
    noises: tuple[float, ...] = (0.025, 0.05, 0.1, 0.2)
    """Beside none."""
    step: float = 0.02
    blocks: int = 40
    block: int = 100
    """Steps between two measurements."""
    init_std: float = 0.5
    rate_from: float = 10.0
    """The rate is fitted between these times, after the first swing of the momentum."""
    rate_until: float = 50.0
    floor_share: float = 0.25
    """The last part of a path, in which the imbalance is at its floor."""
    identity_noise: float = 0.2
    identity_step: float = 0.0005
    identity_blocks: int = 16
    identity_block: int = 1000


@dataclass(frozen=True)
class Boundedness:
    """Factors that grow without bound, or do not, under a loss that is not bounded below (App. B.5)."""

    instances: int = 100
    size: int = 4
    decay: float = 0.4
    below: float = 0.9
    """The square of the start's scale over lambda / 2, where decay wins; the paper's printed condition for divergence, scale > lambda, is met."""
    above: float = 1.1
    imbalance: float = 0.02
    """Relative size of a random symmetric change of one factor."""
    step_size: float = 0.02
    """Of an integration whose steps shorten as the factors grow."""
    steps: int = 1500
    limit: float = 100.0
    """A path ends where the squared norm is this many times its start."""


@dataclass(frozen=True)
class Deep:
    """Gradient descent on a product of three matrices, with a random loss that is not quadratic."""

    rows: int = 6
    columns: int = 5
    measurements: int = 40
    noise: float = 0.3
    decay: float = 0.2
    learning_rate: float = 0.005
    steps: int = 2000
    init_std: float = 0.6
    every: int = 40


@dataclass(frozen=True)
class Products:
    """Statements about random products of two and more factors."""

    instances: int = 100
    rows: int = 8
    columns: int = 7
    rank: int = 4
    depths: tuple[int, ...] = (3, 4)
    deep_std: float = 3.0
    """Large enough for the premise of the paper's bound, which is not homogeneous."""
    perturbation: float = 0.02
    """Largest deviation from balance."""


@dataclass(frozen=True)
class Config:
    """Config of the weight-decay study."""

    factorisation: Factorisation = field(default_factory=Factorisation)
    descent: Descent = field(default_factory=Descent)
    minima: Minima = field(default_factory=Minima)
    scalar_pair: ScalarPair = field(default_factory=ScalarPair)
    adaptive: Adaptive = field(default_factory=Adaptive)
    two_layers: TwoLayers = field(default_factory=TwoLayers)
    pruning: Pruning = field(default_factory=Pruning)
    surface: Surface = field(default_factory=Surface)
    noisy: Noisy = field(default_factory=Noisy)
    boundedness: Boundedness = field(default_factory=Boundedness)
    deep: Deep = field(default_factory=Deep)
    products: Products = field(default_factory=Products)
    recall: Recall = field(default_factory=Recall)
    language: Language = field(default_factory=Language)
    pictures: Pictures = field(default_factory=Pictures)


TINY = Training(steps=4, learning_rate=3e-3, batch_size=2, warmup=1, every=2)

PRESETS = {
    "smoke": Preset(
        Config(
            factorisation=Factorisation(steps=40),
            descent=Descent(steps=80),
            minima=Minima(steps=10, one_steps=5),
            scalar_pair=ScalarPair(steps=10),
            adaptive=Adaptive(steps=10),
            two_layers=TwoLayers(steps=10),
            pruning=Pruning(steps=10),
            surface=Surface(steps=10),
            noisy=Noisy(block=2, rate_from=0.1, rate_until=1.5, identity_block=2),
            boundedness=Boundedness(steps=10),
            deep=Deep(steps=80),
            recall=Recall(pairs=4, queries=2, network=Network(layers=1, dim=8, heads=2), training=TINY, decays=(0.0, 1.0), ordered=(0.0, 1.0), seeds=2, test=8),
            language=Language(
                vocabulary=257, length=4, network=Network(layers=1, dim=8, heads=2), training=TINY, decays=(0.0, 0.8), ordered=(0.0, 0.8), seeds=2, windows=4
            ),
            pictures=Pictures(patch=4, network=Network(layers=1, dim=8, heads=2), training=TINY, decays=(0.0, 2.5), ordered=(0.0, 2.5), seeds=2),
        ),
        seeds=2,
    ),
    "quick": Preset(replace(Config(), recall=Recall(decays=()), language=Language(decays=()), pictures=Pictures(decays=())), seeds=20),
    "cpu": Preset(
        Config(),
        seeds=40,
        minutes={
            "step": 0.024,
            "minima": 0.14,
            "descent": 0.088,
            "factorisation": 0.09,
            "scalar-pair": 0.22,
            "adaptive": 0.26,
            "two-layers": 1.1,
            "pruning": 0.24,
            "surface": 0.11,
            "noise": 0.05,
            "noise-identity": 0.06,
            "boundedness": 0.08,
            "deep-descent": 0.08,
            "products": 0.2,
            "language-0-0.1": 5.5,
            "language-0.5-0.1": 5.5,
            "language-0.8-0.1": 5.5,
            "language-0-0.8": 5.5,
            "recall-0-0.1": 3.0,
            "recall-0.5-0.1": 3.0,
            "recall-1-0.1": 3.0,
            "recall-3-0.1": 3.0,
            "recall-0-1": 3.0,
            "pictures-0-0.1": 0.9,
            "pictures-1.25-0.1": 0.9,
            "pictures-2.5-0.1": 0.9,
            "pictures-0-2.5": 0.9,
        },
    ),
    "paper": Preset(
        Config(
            recall=Recall(queries=1, training=Training(steps=5000, learning_rate=1e-3, batch_size=128, every=1000)),
            # GPT-3's small model [T; sizes from general knowledge] and DeiT-small [from the recipe]; the Pile and ImageNet are replaced by what installs.
            language=Language(
                vocabulary=1024,
                length=756,
                network=Network(layers=12, dim=768, heads=12),
                training=Training(steps=103_000, learning_rate=6e-4, batch_size=128, warmup=3000, every=103_000),
                decays=(0.0, 0.1, 0.3),
                ordered=(0.0, 0.1, 0.3),
                judged=0.1,
                moved=0.3,
                seeds=3,
            ),
            pictures=Pictures(
                name="cifar10",
                shape=(3, 32, 32),
                patch=4,
                network=Network(layers=12, dim=384, heads=6),
                training=Training(steps=78_000, learning_rate=1e-3, batch_size=64, warmup=1, every=78_000),
                decays=(0.0, 0.1, 0.3),
                ordered=(0.0, 0.1, 0.3),
                judged=0.1,
                moved=0.3,
                seeds=3,
            ),
        ),
        seeds=40,
    ),
}
