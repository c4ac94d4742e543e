"""Claims of the follow-up, arXiv 2602.16301: agents that infer their co-player within an episode. Regions were fixed with the specification, before any run."""

from __future__ import annotations

from functools import partial

from mesocosm.claims.forms import CPU, unjudged
from mesocosm.claims.measures import replicates
from mesocosm.claims.pilots import pilots
from mesocosm.claims.tables import Trials, Value
from mesocosm.studies.coala.measures import OfSeeds, exceeds, of_agents
from mesocosm.studies.coala.notes import AFTER_RESPONDER, RESPONDER, THEORY
from mesocosm.studies.coala.tables import (
    AMONG_POLICIES,
    COOPERATOR,
    DEFECTOR,
    IN_CONTEXT,
    NO_POLICIES,
    RETALIATOR,
    TOLD,
    ExtortersMet,
    Extortion,
    InContextPeers,
    Responses,
)
from mesocosm.studies.interface import Check, Claim, Control, Mean, Rate, above, below

PAPER = "arXiv 2602.16301"
COOPERATES = 0.5  # reward from each other, between those of mutual defection and cooperation
of_episodes = partial(
    Check, judged_at=CPU, replicate="initialisation and sampled play of agents", searched=pilots("mesocosm.studies.coala").counts("experiment")["in-context"]
)


def late(opponent: str, trial: str = IN_CONTEXT) -> OfSeeds:
    """Cooperation with an opponent in the last third of an episode."""
    return replicates(Responses.late, trial=Trials(trial), opponent=opponent)


def step(value: Value) -> OfSeeds:
    """A column of the trial of three steps."""
    return of_agents(value, IN_CONTEXT)


def together(trial: str) -> OfSeeds:
    """Whether the agents of a pool cooperate with each other."""
    return exceeds(of_agents(InContextPeers.peer, trial), COOPERATES)


IN_CONTEXT_CLAIMS = [
    Claim(
        "X1",
        "Beyond the paper: recurrent agents in a pool with random memory-one policies come to cooperate with each other.",
        source=f"{PAPER}, Fig. 1",
        checks=[
            of_episodes(
                "cooperate",
                Rate("pools whose agents earn more than 0.5 from each other"),
                above(1 / 2),
                together(AMONG_POLICIES),
                Control("without memory-one policies", together(NO_POLICIES)),
                note=AFTER_RESPONDER,
            )
        ],
    ),
    Claim(
        "X2",
        "If they are given the opponent's policy, they defect.",
        source=f"{PAPER}, Fig. 1",
        checks=[
            of_episodes(
                "defect",
                Rate("pools whose agents earn more than 0.5 from each other, told the policies of others"),
                below(1 / 2),
                together(TOLD),
                Control("not told", together(AMONG_POLICIES)),
                note=AFTER_RESPONDER,
            )
        ],
    ),
    Claim(
        "X3",
        "Without memory-one opponents, they defect.",
        source=f"{PAPER}, Fig. 1",
        checks=[
            of_episodes(
                "defect",
                Rate("pools whose agents earn more than 0.5 from each other, without memory-one policies"),
                below(1 / 2),
                together(NO_POLICIES),
                Control("with memory-one policies", together(AMONG_POLICIES)),
                note=AFTER_RESPONDER,
            )
        ],
    ),
    Claim(
        "X4",
        "Trained against memory-one policies only, an agent best-responds within the episode.",
        source=f"{PAPER}, Fig. 2A",
        checks=[
            of_episodes(
                RETALIATOR,
                Mean("cooperation with tit-for-tat in the last third of an episode"),
                above(0.8),
                late(RETALIATOR),
                Control("with an opponent that always defects", late(DEFECTOR)),
                note=RESPONDER,
            ),
            *(
                of_episodes(
                    opponent,
                    Mean(f"cooperation in the last third of an episode, opponent: {opponent}"),
                    below(0.2),
                    late(opponent),
                    Control("with tit-for-tat", late(RETALIATOR)),
                    note=RESPONDER,
                )
                for opponent in (COOPERATOR, DEFECTOR)
            ),
        ],
    ),
    Claim(
        "X5",
        "A fresh learner extorts that agent.",
        source=f"{PAPER}, Fig. 2C",
        checks=[
            of_episodes(
                "extorts",
                Mean("reward of the learner minus that of the agent"),
                above(0.4),
                step(Extortion.difference),
                Control("between two copies of the learner", step(Extortion.of_copies)),
                note=AFTER_RESPONDER,
            ),
            of_episodes(
                "yields",
                Mean("how often the agent cooperates with the learner"),
                above(0.4),
                step(Extortion.yields),
                Control("with an opponent that always defects", late(DEFECTOR)),
                note=AFTER_RESPONDER,
            ),
        ],
    ),
    Claim(
        "X6",
        "Two extorters that learn from each other come to cooperate.",
        source=f"{PAPER}, Fig. 2E",
        checks=[
            of_episodes(
                "cooperate",
                Rate("pairs that earn more than 0.5 from each other after they learned"),
                above(1 / 2),
                exceeds(step(ExtortersMet.after), COOPERATES),
                Control("before", exceeds(step(ExtortersMet.before), COOPERATES)),
                note=AFTER_RESPONDER,
            )
        ],
    ),
    Claim(
        "X7",
        "In mixed training, extortion comes first and cooperation later, and policies that do not reciprocate are defected on (judged: the last).",
        source=f"{PAPER}, Fig. 3",
        checks=[
            of_episodes(
                opponent,
                Mean(f"cooperation in the last third of an episode after mixed training, opponent: {opponent}"),
                below(0.2),
                late(opponent, AMONG_POLICIES),
                Control("with tit-for-tat", late(RETALIATOR, AMONG_POLICIES)),
                note=AFTER_RESPONDER,
            )
            for opponent in (COOPERATOR, DEFECTOR)
        ],
    ),
    unjudged("X8", "Predictive equilibria exist.", f"{PAPER}, App. C, D", THEORY),
]
