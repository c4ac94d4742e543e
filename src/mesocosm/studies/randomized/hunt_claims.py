"""The claims about treasure hunts (C17 to C21). Regions come from the grids' exact values and from pilots on seeds from 1000 upward (search.csv)."""

from functools import partial
from typing import Any, NamedTuple

from mesocosm.claims.forms import CPU
from mesocosm.claims.pilots import pilots
from mesocosm.claims.tables import Trials
from mesocosm.studies.interface import Check, Claim, Control, Mean, Rate, above, below
from mesocosm.studies.randomized.measures import evening, exceeds, lead, of, stays_below
from mesocosm.studies.randomized.notes import NOTES
from mesocosm.studies.randomized.tables import (
    GRID,
    GRID_FEW,
    GRID_FIXED,
    GRID_FIXED_FINITE,
    GRID_FIXED_MEAN,
    GRID_MANY,
    GRID_MEAN,
    GRID_ONE_SEED,
    GRID_ONE_SEED_MEAN,
    LARGER,
    LARGER_FIXED,
    LARGER_MEAN,
    TWICE,
    Hunts,
    Returns,
)

SEARCHED = pilots("mesocosm.studies.randomized").counts("problem")
ON_THE_MEAN_OF_TREASURES = "trained on the mean over treasures"
ONE_FIXED = "one fixed seed"
MOST = above(0.5)

of_hunts = partial(Check, judged_at=CPU, replicate="initialisation, populations, training and test seeds", searched=SEARCHED["grid"])


class World(NamedTuple):
    """A grid: prefix of its checks, where they are judged, its agents (random seed, against the worst treasure; on the mean; one fixed seed), and regions.

    Attributes:
        near: so many steps are near: less than a quarter of the least possible mean (4.5 and 8 steps).
        evener: a third of the deviation over cells of a path that visits each once (2.29 and 4.32 steps).
    """

    prefix: str
    judged_at: frozenset[str]
    agents: Trials
    mean: Trials
    fixed: Trials
    near: float
    evener: float

    def check(self, claim: str, name: str, *parts: Any) -> Check:
        """A check about this grid."""
        return of_hunts(self.prefix + name, *parts, judged_at=self.judged_at, note=NOTES.get(f"{claim}.{self.prefix}{name}"))


SMALL = World("", CPU, GRID, GRID_MEAN, GRID_FIXED, 1.0, -0.8)
LARGE = World("larger-", frozenset({"cpu"}), LARGER, LARGER_MEAN, LARGER_FIXED, 1.8, -1.5)

HUNTS = [
    Claim(
        "C17",
        "In a grid world, the randomised agent is near the mean-trained one on average and much better in the tail.",
        source="Fig. 7A",
        checks=[
            check
            for world in (SMALL, LARGE)
            for check in (
                world.check(
                    "C17",
                    "worst",
                    Rate("agents whose worst treasure takes fewer steps, on average over seeds, than that of any deterministic agent"),
                    MOST,
                    stays_below(of(Hunts.excess, world.agents), 0.0),
                    Control(ONE_FIXED, stays_below(of(Hunts.excess, world.fixed), 0.0)),
                ),
                world.check(
                    "C17",
                    "average",
                    Mean("mean steps over treasures, against the worst treasure minus on the mean"),
                    below(world.near),
                    lead(of(Hunts.average, world.agents), of(Hunts.average, world.mean)),
                    Control(ONE_FIXED, lead(of(Hunts.average, world.fixed), of(Hunts.average, world.mean))),
                ),
                world.check(
                    "C17",
                    "tail",
                    Mean("95th percentile over treasures of the steps, against the worst treasure minus on the mean"),
                    below(-world.near),
                    lead(of(Hunts.tail, world.agents), of(Hunts.tail, world.mean)),
                    Control(ONE_FIXED, lead(of(Hunts.tail, world.fixed), of(Hunts.tail, world.mean))),
                ),
            )
        ],
    ),
    Claim(
        "C18",
        "More seeds per step improve the average.",
        source="Fig. 7B",
        checks=[
            *(
                of_hunts(
                    check,
                    Mean(f"{what}, eight seeds per generation minus one, against the worst treasure"),
                    below(-1.0),
                    lead(of(value, GRID), of(value, GRID_ONE_SEED)),
                    Control(ON_THE_MEAN_OF_TREASURES, lead(of(value, GRID_MEAN), of(value, GRID_ONE_SEED_MEAN))),
                    note=NOTES.get(f"C18.{check}"),
                )
                for check, what, value in (("average", "mean steps over treasures", Hunts.average), ("worst", "steps to the worst treasure", Hunts.worst))
            ),
            of_hunts(
                "many",
                Mean("mean steps over treasures, sixteen seeds per generation minus two, against the worst treasure"),
                below(-0.5),
                lead(of(Hunts.average, GRID_MANY), of(Hunts.average, GRID_FEW)),
                Control("eight seeds minus one, on the mean over treasures", lead(of(Hunts.average, GRID_MEAN), of(Hunts.average, GRID_ONE_SEED_MEAN))),
                note=NOTES["C18.many"],
            ),
        ],
    ),
    Claim(
        "C19",
        "The mean-trained agent follows one path; the randomised one visits cells almost uniformly.",
        source="Fig. 7C",
        checks=[
            check
            for world in (SMALL, LARGE)
            for check in (
                world.check(
                    "C19",
                    "one-path",
                    Rate("agents that take one path under more than 0.9 of the seeds, trained on the mean over treasures"),
                    MOST,
                    exceeds(of(Hunts.commonest, world.mean), 0.9),
                    Control("against the worst treasure", exceeds(of(Hunts.commonest, world.agents), 0.9)),
                ),
                world.check(
                    "C19",
                    "even",
                    Mean("standard deviation over cells of the first visit, of the mean over seeds minus that under one seed, against the worst treasure"),
                    below(world.evener),
                    evening(world.agents),
                    Control(ON_THE_MEAN_OF_TREASURES, evening(world.mean)),
                ),
            )
        ],
    ),
    Claim(
        "C20",
        "The second episode takes the shortest path to the treasure found in the first.",
        source="Fig. 6C",
        checks=[
            of_hunts(
                "shortest",
                Mean("share of found treasures to which the second episode takes a shortest path"),
                above(0.9),
                of(Returns.same, TWICE),
                Control("the treasure is moved to another cell between the episodes", of(Returns.moved, TWICE)),
                note=NOTES["C20.shortest"],
            )
        ],
    ),
    Claim(
        "C21",
        "With one fixed seed, training against the adversary fails.",
        source="Fig. 10",
        checks=[
            of_hunts(
                "fixed",
                Mean("mean steps over treasures, against the worst treasure minus on the mean, one fixed seed"),
                above(1.0),
                lead(of(Hunts.average, GRID_FIXED), of(Hunts.average, GRID_FIXED_MEAN)),
                Control("a finite exponent", lead(of(Hunts.average, GRID_FIXED_FINITE), of(Hunts.average, GRID_FIXED_MEAN))),
                note=NOTES["C21.fixed"],
            )
        ],
    ),
]
