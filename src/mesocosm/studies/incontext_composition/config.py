"""Config and presets of the incontext-composition study. Numbers from the paper are marked; the others were searched on pilots
(search.csv).
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from mesocosm.studies.interface import Preset

Model = Literal["vanilla", "hypernet", "latent-mlp", "told", "hyla"]
"""A transformer on context and queries; one that infers a code, which a linear hypernetwork executes; the same with an MLP that reads the code; the first with
the task's code in every token; the first with HYLA in place of attention."""

PAPER_CURVES = {
    "hypernet": {5000: (0.954, 0.84), 10000: (0.980, 0.90), 20000: (0.996, 0.964), 40000: (0.9991, 0.985), 60000: (0.9996, 0.987), 100000: (0.9998, 0.987)},
    "vanilla": {5000: (0.944, 0.881), 10000: (0.960, 0.888), 20000: (0.977, 0.885), 40000: (0.988, 0.882), 60000: (0.993, 0.878), 100000: (0.998, 0.870)},
}
"""R^2 on training's pairs and on held-out ones by training step, read from the vector graphics of Figs. 2A and 3. Held-out ones at 5000, 10000 (hypernetwork)
and at 20000, 60000 (vanilla) lie between points that were read."""
PAPER_TASKS = 128
"""Tasks per step (paper)."""


@dataclass(frozen=True)
class Prompting:
    """How a task is shown: input-output pairs, then queries that see the pairs and themselves."""

    pairs: int = 48
    """Pairs in the context (not given in the paper; 63 in the preset `paper`)."""
    queries: int = 16
    """Queries that share a context (paper: 1). Several give more signal per step; they do not see each other, and the context does not see them."""


@dataclass(frozen=True)
class Network:
    """A transformer with relative position biases, whose feed-forward parts are four times as wide, and an executor of codes."""

    dim: int = 64
    """Width of the tokens (paper: 128 vanilla, 64 with the bottleneck)."""
    heads: int = 4
    layers: int = 2
    code: int = 6
    """Size of an inferred code (paper: 6, the number of modules)."""
    hidden: int = 32
    """Hidden units of the executed network (paper: 32)."""
    mlp_hidden: int = 128
    """Hidden units of the MLP that reads a code: about as many parameters as the hypernetwork has."""


@dataclass(frozen=True)
class Training:
    """AdamW on fresh tasks, gradients clipped to norm 1 (paper): linear warm-up, then half a cosine down to 0."""

    steps: int
    """Updates (paper: 100,000)."""
    tasks: int = 16
    """Tasks per step (paper: 128)."""
    learning_rate: float = 2e-3
    """Peak learning rate of models with a bottleneck (paper: 1e-3)."""
    vanilla_learning_rate: float = 4e-3
    """That of models without one (paper: 1e-3)."""
    warmup: int = 200
    """Steps over which the learning rate rises from 0."""
    vanilla_decay: float = 0.1
    """Decoupled weight decay of models without a bottleneck; those with one have none (paper)."""
    points: int = 2
    """Number of measurements during training, after one before it."""


@dataclass(frozen=True)
class Evaluation:
    """Fresh tasks to evaluate trained models on."""

    tasks: int = 1024
    """Of each set, for each teacher (paper: 16,000 sequences of one query)."""
    searched: int = 64
    """Of each set for the oracle, which searches the code of each task."""


@dataclass(frozen=True)
class Identities:
    """Random instances for the exact statements."""

    instances: int = 100


@dataclass(frozen=True)
class Config:
    """Config of the incontext-composition study."""

    prompting: Prompting = field(default_factory=Prompting)
    network: Network = field(default_factory=Network)
    vanilla_dim: int = 64
    """Width of the tokens without a bottleneck (paper: 128)."""
    training: Training = field(default_factory=lambda: Training(steps=5000))
    """Of the `models`, on the support Connected+."""
    short_training: Training = field(default_factory=lambda: Training(steps=2500, points=1))
    """Of the `short_models` on Connected+, and of the models on the other supports."""
    execution: Training = field(default_factory=lambda: Training(steps=10_000, tasks=32, learning_rate=1e-2))
    """Of a hypernetwork that is given the code; its steps, tasks, learning rate and warm-up count."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    identities: Identities = field(default_factory=Identities)
    models: tuple[Model, ...] = ()
    """Models trained on Connected+."""
    short_models: tuple[Model, ...] = ()
    """Models trained on Connected+ with `short_training`."""
    lengths: tuple[int, ...] = ()
    """Steps of further trainings of the hypernetwork transformer on Connected+, whose learning rates end at 0 as well (H3)."""
    learning_rates: tuple[tuple[Model, float], ...] = (("latent-mlp", 4e-3),)
    """Peak learning rates of single models, where they differ from those of `training`."""
    swapped_decay: bool = False
    """Whether weight decay is also swapped: the vanilla model without it (`short_training`), and both models with a bottleneck with it (`training`)."""
    supports: tuple[Literal["connected", "disconnected"], ...] = ()
    """Further supports for the vanilla model and the one with a hypernetwork (C5, C10)."""
    contexts: tuple[int, ...] = ()
    """Further numbers of pairs for ridge regression and the oracle, which the page compares."""
    early: int | None = None
    """The step of C8's early comparison (paper: 5000); None for the last."""
    mixer: str = ""
    """A layer of `mesocosm layers` or your own (package.module:Name), with options as in Name(heads=2).
    Trains only it, in the vanilla model and with its learning rate and weight decay, beside the vanilla model and the one with a hypernetwork."""
    over_seeds: Literal["vmap", "map"] = "map"

    def short_trial(self, model: Model) -> str:
        """The trial of a model that was trained with `short_training` on Connected+."""
        return model if self.short_training == self.training else f"{model}-short"

    def trainings(self, model: Model) -> tuple[str, ...]:
        """The trials of a model on Connected+ that differ in the number of steps alone, shortest first."""
        lengths = [f"{model}-{steps}" for steps in self.lengths] if model == "hypernet" else []
        short = [self.short_trial(model)] if model in self.short_models else []
        return tuple(dict.fromkeys([*lengths, *short, *([model] if model in self.models else [])]))


TRAINED: tuple[Model, ...] = ("vanilla", "hypernet", "latent-mlp")
ALL_MODELS: tuple[Model, ...] = (*TRAINED, "told", "hyla")
SUPPORTS: tuple[Literal["connected", "disconnected"], ...] = ("connected", "disconnected")
_BRIEF = Training(steps=3, tasks=2, warmup=1)
_LONG = Training(steps=100_000, tasks=128, learning_rate=1e-3, vanilla_learning_rate=1e-3, warmup=1000, points=20)

PRESETS = {
    "smoke": Preset(
        Config(
            prompting=Prompting(pairs=8, queries=2),
            network=Network(dim=8, heads=2, layers=1, hidden=8, mlp_hidden=8),
            vanilla_dim=8,
            training=_BRIEF,
            short_training=replace(_BRIEF, steps=2, points=1),
            execution=_BRIEF,
            evaluation=Evaluation(tasks=16, searched=4),
            models=("vanilla", "hypernet"),
            short_models=("vanilla", "hypernet"),
            lengths=(2,),
            swapped_decay=True,
            supports=SUPPORTS,
        ),
        seeds=2,
    ),
    "quick": Preset(
        Config(evaluation=Evaluation(tasks=384)),
        seeds=8,
        minutes={"identities": 0.08, "references": 0.4, "given-code-connected": 0.6, "given-code-disconnected": 0.6},
    ),
    "cpu": Preset(
        Config(
            contexts=(16,),
            models=TRAINED,
            short_models=ALL_MODELS,
            lengths=(625, 1250),
            swapped_decay=True,
            supports=SUPPORTS,
        ),
        seeds=10,
        minutes={
            "identities": 0.1,
            "references": 2.5,
            "hyla-short": 14.1,
            "vanilla": 13.8,
            "told-short": 7.4,
            "vanilla-short": 6.9,
            "vanilla-undecayed": 6.9,
            "vanilla-connected": 6.9,
            "vanilla-disconnected": 6.9,
            "hypernet": 7.5,
            "latent-mlp": 7.8,
            "hypernet-decayed": 7.5,
            "latent-mlp-decayed": 7.8,
            "hypernet-short": 4.0,
            "latent-mlp-short": 4.1,
            "hypernet-connected": 4.0,
            "hypernet-disconnected": 4.0,
            "hypernet-1250": 2.3,
            "hypernet-625": 1.4,
            "given-code-connected": 0.8,
            "given-code-disconnected": 0.9,
            "given-code-connected+": 1.9,
        },  # from the second record's, by steps, each on one core
    ),
    "paper": Preset(
        Config(
            prompting=Prompting(pairs=63, queries=1),
            vanilla_dim=128,
            training=_LONG,
            short_training=_LONG,
            evaluation=Evaluation(tasks=16_384, searched=1024),
            contexts=(31, 127),
            models=TRAINED,
            short_models=ALL_MODELS,
            lengths=(10_000, 20_000, 40_000),
            learning_rates=(),
            swapped_decay=True,
            supports=SUPPORTS,
            early=5000,
        ),
        seeds=5,
    ),
}
