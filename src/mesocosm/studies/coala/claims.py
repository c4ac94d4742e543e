"""The paper's claims and their checks. Regions come from the paper's figures, from trials at this size before this code was written, and from pilots
(search.csv)."""

from __future__ import annotations

from functools import partial
from math import log

from mesocosm.claims.forms import ALL, CPU, against_mutant, unjudged
from mesocosm.claims.measures import instances, replicates
from mesocosm.claims.pilots import pilots
from mesocosm.claims.tables import Trials
from mesocosm.studies.coala.claims_in_context import IN_CONTEXT_CLAIMS
from mesocosm.studies.coala.measures import balance, beyond_defecting, change, exceeds, exploiting, exploits, lead, nearness, of, of_agents
from mesocosm.studies.coala.notes import CLEAN_UP, NOTES
from mesocosm.studies.coala.tables import (
    AGENTS_ALONE,
    ALONE,
    ALONE_FROM_TIT_FOR_TAT,
    DEFECTORS,
    ESCAPE,
    ESCAPE_ALONE,
    FOUR_ALONE,
    FROM_DEFECTING,
    FROM_TIT_FOR_TAT,
    METHODS,
    MIXED,
    NOT_PULLED,
    PULLED,
    PULLED_AGENT,
    RETALIATORS,
    SHAPERS,
    AlwaysDefecting,
    Biases,
    LookAhead,
    Met,
    NaiveMeans,
    PeerMeans,
    Pools,
    WithPeer,
    ahead,
    mixed,
    mixed_ahead,
    of_four,
    shaping,
)
from mesocosm.studies.interface import Bootstrap, Check, Claim, Control, Every, Exact, Mean, Rate, above, below

INSTANCE = "a random agent and learner"
PAIR = "first policies of a pair, naive learners"
LEARNERS = "naive learners in training; all pairs start at the same policies"
COOPERATES = 0.5  # return against each other, between those of mutual defection and cooperation
ABOVE_CHANCE = 0.6  # the same in the specification of C11, a little more than agents earn that have learned nothing
DEFECTING = 0.1  # what pools that defect stay below, in the specification of C14
MOST, FEW = above(1 / 2), below(1 / 2)  # of runs: where the paper says that agents come to do something, most do

SEARCHED = pilots("mesocosm.studies.coala").counts("experiment")
exact = partial(against_mutant, replicate=INSTANCE, of="largest error of the mean gradient, relative, float64", tolerance=1e-12)
of_pools = partial(Check, judged_at=ALL, replicate=PAIR)
of_mixed = partial(of_pools, judged_at=CPU)
of_agent_pools = partial(Check, judged_at=CPU, replicate="initialisation and sampled play of a pool", searched=SEARCHED["mixed"])
of_shaping = partial(of_agent_pools, searched=SEARCHED["shaping"])
of_pools_of_four = partial(of_agent_pools, searched=SEARCHED["four"])
of_ahead = partial(Check, judged_at=CPU, replicate="first policies of a pair")

CLAIMS = [
    Claim(
        "C1",
        "COALA-PG is the exact policy gradient of an agent's return over a batch of meta-trajectories, without a derivative of the co-player's update.",
        source="Theorem 3.1",
        checks=[
            exact("C1 coala", "the present inner episode counts B times (M-FOS)", check="coala"),
            exact("C1 full-return", "each trajectory for itself (batch-unaware)", check="full-return"),
        ],
    ),
    Claim(
        "C2",
        "M-FOS and the batch-unaware policy gradient are biased: relative to what comes after it, the present inner episode counts B times too much.",
        source="Sec. 3.1, App. G",
        checks=[
            exact("C2 m-fos", "one B more", check="m-fos"),
            exact("C2 batch-unaware", "no bias", check="batch-unaware"),
            exact("C2 alike", "M-FOS without the factor B", check="alike"),
            Check(
                "biased",
                Every("distance of the mean batch-unaware gradient from the true one, relative"),
                above(1e-6),  # more than rounding
                instances(Biases.batch_unaware),
                Control("COALA-PG", instances(Biases.coala)),
                judged_at=ALL,
                replicate=INSTANCE,
            ),
        ],
    ),
    Claim(
        "C3",
        "For an agent without memory of earlier inner episodes, COALA-PG is the total derivative of its returns through the learner's update, as in LOLA-DICE.",
        source="Theorem D.2",
        checks=[
            exact("C3 total", "the update's data do not depend on the agent", check="total"),
            exact(
                "C3 lola", "the update is the whole gradient", check="lola", of="largest relative error of the derivative in the learner's step size, float64"
            ),
        ],
    ),
    unjudged(
        "C4",
        "M-FOS, Good Shepherd, Meta-MAPG, meta-value learning and LOLA solve special cases of one shaping problem.",
        "App. F",
        "a taxonomy, with nothing to measure; the page of the study describes it",
    ),
    Claim(
        "C5",
        "A learning-aware agent extorts naive learners, also if it starts at always defecting.",
        source="Fig. 3A",
        checks=[
            of_pools(
                "reward",
                Mean("reward of a shaper beside naive learners, per step"),
                above(0.85),
                of(Pools.ego, SHAPERS),
                Control("trained among each other only", of(Pools.ego, ALONE)),
            ),
            of_pools(
                "extorts",
                Mean("reward of a shaper minus that of the naive learners beside it, beyond the difference that always defecting makes"),
                above(0.2),
                beyond_defecting(SHAPERS),
                Control("trained among each other only", beyond_defecting(ALONE)),
            ),
            of_pools(
                "learners-gain",
                Rate("pairs of shapers beside whom naive learners earn more than from mutual defection"),
                MOST,
                exceeds(of(Pools.naive, SHAPERS), 0.0),
                Control("trained among each other only", exceeds(of(Pools.naive, ALONE), 0.0)),
            ),
            of_pools(
                "from-defecting",
                Mean("reward of a shaper that started at always defecting, minus that of always defecting"),
                above(0.2),
                of(Pools.above_defecting, FROM_DEFECTING),
                Control("the same start, trained among each other only", of(Pools.above_defecting, DEFECTORS)),
                replicate=LEARNERS,
            ),
        ],
    ),
    Claim(
        "C6",
        "Shapers of naive learners become cooperative when they then learn from each other.",
        source="Fig. 3B",
        checks=[
            of_pools(
                "after",
                Rate("pairs of shapers that earn more than 0.5 from each other after they learned from each other"),
                MOST,
                exceeds(of(Met.after, SHAPERS), COOPERATES),
                Control("agents that never met a naive learner", exceeds(of(Met.after, ALONE), COOPERATES)),
                note=NOTES["C6.after"],
            ),
            of_mixed(
                "before",
                Rate("pairs of shapers that earn more than 0.5 from each other before"),
                FEW,
                exceeds(of(Met.before, SHAPERS), COOPERATES),
                Control("pairs of a mixed pool", exceeds(of(Met.before, MIXED), COOPERATES)),
            ),
        ],
    ),
    Claim(
        "C7",
        "Among naive and learning-aware agents, the latter come to cooperate with each other; without naive ones, they keep defecting.",
        source="Fig. 3C",
        checks=[
            of_mixed(
                "mixed",
                Rate("pairs of a mixed pool that earn more than 0.5 from each other"),
                MOST,
                exceeds(of(Pools.peer, MIXED), COOPERATES),
                Control("no naive learners", exceeds(of(Pools.peer, ALONE), COOPERATES)),
            ),
            of_mixed(
                "pure",
                Rate("pairs of a pool without naive learners that earn more than 0.5 from each other"),
                FEW,
                exceeds(of(Pools.peer, ALONE), COOPERATES),
                Control("a mixed pool", exceeds(of(Pools.peer, MIXED), COOPERATES)),
            ),
        ],
    ),
    Claim(
        "C8",
        "Trained shapers are close to zero-determinant extortion.",
        source="Fig. 8",
        checks=[
            of_pools(
                "distance",
                Bootstrap("median squared distance from the nearest extortion strategy"),
                below(0.1),
                of(Pools.distance, SHAPERS),
                Control("random policies", of(Pools.random, SHAPERS)),
            ),
            of_pools(
                "nearer",
                Mean("log of that distance over the distance of random policies"),
                below(log(1 / 3)),
                nearness(SHAPERS),
                Control("trained among each other only", nearness(ALONE)),
            ),
        ],
    ),
    Claim(
        "C9",
        "In a mixed pool, always defecting is no equilibrium: the gradient leaves it by the entry DC alone, and agents that start there come to cooperate.",
        source="App. C.1, Fig. 9",
        checks=[
            Check(
                "reward",
                Every("gradient in the probability to cooperate after DC"),
                above(0.0),
                instances(AlwaysDefecting.reward),
                Control("no naive learners", instances(AlwaysDefecting.alone)),
                judged_at=ALL,
                replicate="256 naive learners",
            ),
            Check(
                "others",
                Exact("largest gradient away from the edge in all other probabilities, float64"),
                below(1e-10),
                instances(AlwaysDefecting.slack),
                Control("DC among them", instances(AlwaysDefecting.with_reward)),
                judged_at=ALL,
                replicate="256 naive learners",
            ),
            of_mixed(
                "escape",
                Mean("reward beside naive learners of agents that started at always defecting, minus that of always defecting"),
                above(0.2),
                of(Pools.above_defecting, ESCAPE),
                Control("no naive learners", of(Pools.above_defecting, ESCAPE_ALONE)),
                replicate=LEARNERS,
            ),
            of_mixed(
                "cooperate",
                Rate("pairs that started at always defecting and earn more than 0.5 from each other"),
                MOST,
                exceeds(of(Pools.peer, ESCAPE), COOPERATES),
                Control("no naive learners", exceeds(of(Pools.peer, ESCAPE_ALONE), COOPERATES)),
                replicate=LEARNERS,
                note=NOTES["C9.cooperate"],
            ),
        ],
    ),
    Claim(
        "C10",
        "In a mixed pool, tit-for-tat is no equilibrium: agents that start there come to shape naive learners better and still cooperate with each other.",
        source="Fig. 10",
        checks=[
            of_mixed(
                "shape",
                Mean("reward beside naive learners of agents that started near tit-for-tat, minus that of the policy at which they started"),
                above(0.02),
                of(Pools.above_retaliating, FROM_TIT_FOR_TAT),
                Control("trained among each other only", of(Pools.above_retaliating, ALONE_FROM_TIT_FOR_TAT)),
                replicate=LEARNERS,
                note=NOTES["C10.shape"],
            ),
            of_mixed(
                "peer",
                Bootstrap("median return against each other of agents that started at tit-for-tat"),
                above(0.95),
                of(Pools.peer, FROM_TIT_FOR_TAT),
                Control("trained among naive learners only", of(Pools.peer, RETALIATORS)),
                replicate=LEARNERS,
            ),
        ],
    ),
    Claim(
        "C11",
        "LOLA-DICE with few look-ahead steps comes to cooperate, with many it defects and extorts naive learners; the plain gradient mixed in repairs this.",
        source="Fig. 4",
        checks=[
            *(
                of_ahead(
                    name,
                    Rate(f"pairs that earn more than {ABOVE_CHANCE} from each other, {name} look-ahead step{'s' * (steps > 1)}"),
                    MOST,
                    exceeds(of(LookAhead.peer, ahead(steps)), ABOVE_CHANCE),
                    Control("no look-ahead step", exceeds(of(LookAhead.peer, ahead(0)), ABOVE_CHANCE)),
                    judged_at=where,
                    note=NOTES.get(f"C11.{name}"),
                )
                for name, steps, where in (("one", 1, ALL), ("two", 2, CPU))
            ),
            of_ahead(
                "many",
                Rate("pairs that earn more than 0.35 from each other, 20 look-ahead steps"),
                FEW,
                exceeds(of(LookAhead.peer, ahead(20)), 0.35),
                Control("one look-ahead step", exceeds(of(LookAhead.peer, ahead(1)), 0.35)),
                judged_at=ALL,
            ),
            of_ahead(
                "extorts",
                Mean("reward minus that of a naive learner at the end of its learning, 20 look-ahead steps"),
                above(0.2),
                exploits(ahead(20)),
                Control("no look-ahead step", exploits(ahead(0))),
                judged_at=ALL,
            ),
            of_ahead(
                "mixed-10",
                Mean("gain of the return against each other by the plain gradient, 10 look-ahead steps"),
                above(0.15),
                change(LookAhead.peer, mixed_ahead(10), ahead(10)),
                Control("the plain gradient alone", change(LookAhead.peer, ahead(0), ahead(10))),
            ),
            of_ahead(
                "mixed-20",
                Rate("pairs that earn more than 0.5 from each other, 20 look-ahead steps mixed with the plain gradient"),
                MOST,
                exceeds(of(LookAhead.peer, mixed_ahead(20)), COOPERATES),
                Control("20 look-ahead steps alone", exceeds(of(LookAhead.peer, ahead(20)), COOPERATES)),
                note=NOTES["C11.mixed-20"],
            ),
        ],
    ),
    Claim(
        "C12",
        "Among naive learners, COALA-PG earns more than M-FOS and the batch-unaware policy gradient.",
        source="Fig. 5A",
        checks=[
            of_shaping(
                method,
                Mean(f"reward beside naive learners, COALA-PG minus {method}"),
                above(0.2),
                lead(NaiveMeans.ego, shaping("coala"), shaping(method)),
                Control(f"{other} minus {method}", lead(NaiveMeans.ego, shaping(other), shaping(method))),
            )
            for method, other in (("m-fos", "batch-unaware"), ("batch-unaware", "m-fos"))
        ],
    ),
    Claim(
        "C13",
        "Within a meta-episode, COALA agents first shape and then exploit; the others defect from the start.",
        source="Fig. 5B",
        checks=[
            of_shaping(
                "exploit",
                Mean("cooperation with naive learners, first inner episode minus last, COALA-PG"),
                above(0.15),
                exploiting(shaping("coala")),
                Control("M-FOS", exploiting(shaping("m-fos"))),
            ),
            *(
                of_shaping(
                    method,
                    Rate(f"pools that cooperate with naive learners in more than a tenth of the first inner episode, {method}"),
                    FEW,
                    exceeds(of_agents(NaiveMeans.first, shaping(method)), 0.1),
                    Control("COALA-PG", exceeds(of_agents(NaiveMeans.first, shaping("coala")), 0.1)),
                    note=NOTES.get(f"C13.{method}"),
                )
                for method in METHODS[1:]
            ),
        ],
    ),
    Claim(
        "C14",
        "In a mixed pool, COALA agents cooperate with each other; others defect, as do COALA agents without naive ones.",
        source="Fig. 5C",
        checks=[
            of_agent_pools(
                "cooperate",
                Rate("pools of COALA-PG whose agents cooperate with each other in more than half of the steps"),
                above(1 / 3),
                exceeds(of_agents(PeerMeans.peer, mixed("coala")), 0.5),
                Control("M-FOS", exceeds(of_agents(PeerMeans.peer, mixed("m-fos")), 0.5)),
                note=NOTES["C14.cooperate"],
            ),
            *(
                of_agent_pools(
                    f"ahead-of-{name}",
                    Mean(f"return against each other in the second half of training, COALA-PG minus {what}"),
                    above(DEFECTING),
                    lead(PeerMeans.second_half, mixed("coala"), trial),
                    Control(f"{beside} minus {what}", lead(PeerMeans.second_half, other, trial)),
                    note=NOTES.get(f"C14.ahead-of-{name}"),
                )
                for name, what, trial, beside, other in (
                    ("m-fos", "M-FOS", mixed("m-fos"), "batch-unaware", mixed("batch-unaware")),
                    ("batch-unaware", "batch-unaware", mixed("batch-unaware"), "M-FOS", mixed("m-fos")),
                    ("alone", "without naive learners", AGENTS_ALONE, "batch-unaware", mixed("batch-unaware")),
                )
            ),
            of_pools_of_four(
                "four-coala",
                Rate("pools of four whose agents cooperate with each other in more than half of the steps, COALA-PG"),
                above(1 / 3),
                exceeds(of_agents(PeerMeans.peer, of_four("coala")), 0.5),
                Control("batch-unaware", exceeds(of_agents(PeerMeans.peer, of_four("batch-unaware")), 0.5)),
                note=NOTES["C14.four-coala"],
            ),
            *(
                of_pools_of_four(
                    f"four-ahead-of-{name}",
                    Mean(f"return of four against each other in the second half of training, COALA-PG minus {what}"),
                    above(DEFECTING),
                    lead(PeerMeans.second_half, of_four("coala"), trial),
                    Control(f"{beside} minus {what}", lead(PeerMeans.second_half, other, trial)),
                    note=NOTES.get(f"C14.four-ahead-of-{name}"),
                )
                for name, what, trial, beside, other in (
                    ("batch-unaware", "batch-unaware", of_four("batch-unaware"), "without naive learners", FOUR_ALONE),
                    ("alone", "without naive learners", FOUR_ALONE, "batch-unaware", of_four("batch-unaware")),
                )
            ),
        ],
    ),
    Claim(
        "C15",
        "COALA agents pull an M-FOS agent into cooperation (here: three in a pool of four, M-FOS divided by B, some entropy).",
        source="App. H.3",
        checks=[
            of_pools_of_four(
                "pulled",
                Rate("pools whose M-FOS agent earns more than 0.3 from three COALA agents"),
                MOST,
                exceeds(replicates(WithPeer.peer, trial=Trials(PULLED), agent=PULLED_AGENT), 0.3),
                Control("three M-FOS agents in their place", exceeds(replicates(WithPeer.peer, trial=Trials(NOT_PULLED), agent=PULLED_AGENT), 0.3)),
                searched=SEARCHED["beside"],
                note=NOTES["C15.pulled"],
            )
        ],
    ),
    Claim(
        "C16",
        "Relative to the gradient's part from the present inner episode, that from later ones is much smaller for the others than for COALA-PG.",
        source="Fig. 12",
        checks=[
            of_agent_pools(
                method,
                Mean(f"log of the norm of the later part over that of the present one, mean over training, COALA-PG minus {method}"),
                above(log(5)),
                balance("coala", method),
                Control(f"{other} minus {method}", balance(other, method)),
                note=NOTES.get(f"C16.{method}"),
            )
            for method, other in (("m-fos", "batch-unaware"), ("batch-unaware", "m-fos"))
        ],
    ),
    unjudged("C17", "Among naive learners in CleanUp-lite, COALA agents earn more, and so do the learners beside them.", "Fig. 6, 13", CLEAN_UP),
    unjudged("C18", "In mixed pools in CleanUp-lite, COALA agents earn more, clean more fairly and zap less.", "Fig. 7, 14", CLEAN_UP),
    *IN_CONTEXT_CLAIMS,
]
