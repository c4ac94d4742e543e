"""Claims of the follow-up, arXiv 2602.16301: agents that infer their co-player within an episode. Thresholds are those of the specification, set before any
run; where it asks for a median over pools (X1 to X3), more or less than half of the pools must be above it.
Mixed pools (X1 to X3, X7) are judged at `paper` only."""

from __future__ import annotations

from functools import partial

from mesocosm.claims.forms import CPU, unjudged
from mesocosm.claims.measures import replicates
from mesocosm.claims.pilots import pilots
from mesocosm.claims.tables import Trials, Value
from mesocosm.studies.coala.measures import OfSeeds, exceeds, of_agents, times
from mesocosm.studies.coala.notes import NOTES, THEORY
from mesocosm.studies.coala.tables import (
    AMONG_POLICIES,
    COOPERATOR,
    DEFECTOR,
    IN_CONTEXT,
    NEW_PAIRS,
    NO_POLICIES,
    RETALIATOR,
    TOLD,
    Anybody,
    ExtortersMet,
    Extortion,
    InContextPeers,
    Responses,
)
from mesocosm.studies.interface import Check, Claim, Control, Mean, Rate, above, below

FOLLOW_UP = "arXiv 2602.16301"
PAPER = frozenset({"paper"})
COOPERATES, COOPERATES_FULLY, DEFECTS = 0.5, 0.7, 0.2  # reward from each other, between those of mutual defection and cooperation
SEARCHED = pilots("mesocosm.studies.coala").counts("experiment")
of_mixed = partial(Check, judged_at=PAPER, replicate="initialisation and sampled play of a pool", searched=SEARCHED["in-context-mixed"])
of_steps = partial(Check, judged_at=CPU, replicate="initialisation and sampled play of agents", searched=SEARCHED["in-context"])
of_extorters = partial(of_steps, searched=SEARCHED["in-context-extorting"])
of_pairs = partial(of_steps, searched=SEARCHED["in-context-meeting"])


def late(opponent: str, trial: str = IN_CONTEXT) -> OfSeeds:
    """Cooperation with an opponent in the last third of an episode."""
    return replicates(Responses.late, trial=Trials(trial), opponent=opponent)


def step(value: Value) -> OfSeeds:
    """A column of the trial of three steps."""
    return of_agents(value, IN_CONTEXT)


def together(trial: str, threshold: float) -> OfSeeds:
    """Whether the agents of a pool earn more than this from each other."""
    return exceeds(of_agents(InContextPeers.peer, trial), threshold)


def beside_defector() -> OfSeeds:
    """The agent's reward beside one that always defects: minus how often it cooperates, while the other earns twice that."""
    return replicates(Responses.reward, trial=Trials(IN_CONTEXT), opponent=DEFECTOR)


IN_CONTEXT_CLAIMS = [
    Claim(
        "X1",
        "Beyond the paper: recurrent agents in a pool with random memory-one policies come to cooperate with each other.",
        source=f"{FOLLOW_UP}, Fig. 1",
        checks=[
            of_mixed(
                "cooperate",
                Rate(f"pools whose agents earn more than {COOPERATES_FULLY} from each other"),
                above(1 / 2),
                together(AMONG_POLICIES, COOPERATES_FULLY),
                Control("without memory-one policies", together(NO_POLICIES, COOPERATES_FULLY)),
            )
        ],
    ),
    Claim(
        "X2",
        "If they are given the opponent's policy, they defect.",
        source=f"{FOLLOW_UP}, Fig. 1",
        checks=[
            of_mixed(
                "defect",
                Rate(f"pools whose agents earn more than {DEFECTS} from each other, told the policies of others"),
                below(1 / 2),
                together(TOLD, DEFECTS),
                Control("not told", together(AMONG_POLICIES, DEFECTS)),
            )
        ],
    ),
    Claim(
        "X3",
        "Without memory-one opponents, they defect.",
        source=f"{FOLLOW_UP}, Fig. 1",
        checks=[
            of_mixed(
                "defect",
                Rate(f"pools whose agents earn more than {DEFECTS} from each other, without memory-one policies"),
                below(1 / 2),
                together(NO_POLICIES, DEFECTS),
                Control("with memory-one policies", together(AMONG_POLICIES, DEFECTS)),
            )
        ],
    ),
    Claim(
        "X4",
        "Trained against memory-one policies only, an agent best-responds within the episode.",
        source=f"{FOLLOW_UP}, Fig. 2A",
        checks=[
            of_steps(
                RETALIATOR,
                Mean("cooperation with tit-for-tat in the last third of an episode"),
                above(0.8),
                late(RETALIATOR),
                Control("with an opponent that always defects", late(DEFECTOR)),
                note=NOTES["X4.tit-for-tat"],
            ),
            *(
                of_steps(
                    opponent,
                    Mean(f"cooperation in the last third of an episode, opponent: {opponent}"),
                    below(0.2),
                    late(opponent),
                    Control("with tit-for-tat", late(RETALIATOR)),
                    note=NOTES.get(f"X4.{opponent}"),
                )
                for opponent in (COOPERATOR, DEFECTOR)
            ),
            of_steps(
                "beyond-defecting",
                Mean("reward beside random memory-one policies, minus that of always defecting beside the same"),
                above(0.0),
                step(Anybody.above_defecting),
                Control("an agent that cooperates as often, whatever happens", step(Anybody.blind)),
            ),
        ],
    ),
    Claim(
        "X5",
        "A fresh learner extorts that agent.",
        source=f"{FOLLOW_UP}, Fig. 2C",
        checks=[
            of_extorters(
                "extorts",
                Mean("reward of the learner minus that of the agent"),
                above(0.4),
                step(Extortion.difference),
                Control("always defecting in the learner's place", times(-3.0, beside_defector())),
            ),
            of_extorters(
                "yields",
                Mean("how often the agent cooperates with the learner"),
                above(0.4),
                step(Extortion.yields),
                Control("with an opponent that always defects", times(-1.0, beside_defector())),
                note=NOTES["X5.yields"],
            ),
        ],
    ),
    Claim(
        "X6",
        "Two extorters that learn from each other come to cooperate.",
        source=f"{FOLLOW_UP}, Fig. 2E",
        checks=[
            of_pairs(
                "cooperate",
                Rate("pairs that earn more than 0.5 from each other after they learned"),
                above(1 / 2),
                exceeds(step(ExtortersMet.after), COOPERATES),
                Control("new agents, trained as long on each other", together(NEW_PAIRS, COOPERATES)),
                note=NOTES["X6.cooperate"],
            )
        ],
    ),
    Claim(
        "X7",
        "In mixed training, extortion comes first and cooperation later, and policies that do not reciprocate are defected on (judged: the last).",
        source=f"{FOLLOW_UP}, Fig. 3",
        checks=[
            of_mixed(
                opponent,
                Mean(f"cooperation in the last third of an episode after mixed training, opponent: {opponent}"),
                below(0.2),
                late(opponent, AMONG_POLICIES),
                Control("with tit-for-tat", late(RETALIATOR, AMONG_POLICIES)),
            )
            for opponent in (COOPERATOR, DEFECTOR)
        ],
    ),
    unjudged("X8", "Predictive equilibria exist.", f"{FOLLOW_UP}, App. C, D", THEORY),
]
