"""Claims of the follow-up, arXiv 2602.16301: agents that infer their co-player within an episode. Thresholds are those of the specification, set before any
run; where it asks for a median over pools (X1 to X3), more or less than half of the pools must be above it, and where single agents end at different places
(X4, X6), more or less than half of the agents. Mixed pools (X1 to X3, X7) are judged at `paper` only.

Two thresholds are not the specification's. X4: who knows the policy earns 0.048 per round more than by always defecting, and a tenth of that must be found by
who does not. X5: a learner must gain 0.2 more than a defector in its place, as in C5."""

from __future__ import annotations

from functools import partial

from mesocosm.claims.forms import CPU, unjudged
from mesocosm.claims.measures import replicates
from mesocosm.claims.pilots import pilots
from mesocosm.claims.tables import Trials, Value
from mesocosm.studies.coala.measures import OfSeeds, exceeds, of_agents
from mesocosm.studies.coala.notes import NOTES, THEORY
from mesocosm.studies.coala.tables import (
    AMONG_POLICIES,
    COOPERATOR,
    DEFECTOR,
    IN_CONTEXT,
    NEW_PAIRS,
    NO_MEMORY,
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
COOPERATES, DEFECTS = 0.7, 0.2  # reward from each other, where mutual defection earns 0, agents that have learned nothing 0.5, and mutual cooperation 1
RESPONDS, NEGLECTS = 0.8, 0.2  # cooperation in the last third of an episode
FOUND = 0.005  # per round
GAINS = 0.2
SEARCHED = pilots("mesocosm.studies.coala").counts("experiment")
of_mixed = partial(Check, judged_at=PAPER, replicate="initialisation and sampled play of a pool", searched=SEARCHED["in-context-mixed"])
of_steps = partial(Check, judged_at=CPU, replicate="initialisation and sampled play of agents", searched=SEARCHED["in-context"])
of_extorters = partial(of_steps, searched=SEARCHED["in-context-extorting"])
of_pairs = partial(of_steps, searched=SEARCHED["in-context-meeting"])


def late(opponent: str, trial: str = IN_CONTEXT) -> OfSeeds:
    """Cooperation with an opponent in the last third of an episode."""
    return replicates(Responses.late, trial=Trials(trial), opponent=opponent)


def step(value: Value, trial: str = IN_CONTEXT) -> OfSeeds:
    """A column of the trial of three steps, or of its like."""
    return of_agents(value, trial)


def in_place(opponent: str, trial: str = IN_CONTEXT) -> OfSeeds:
    """What a known opponent earns more than the agent, in the place of who learned beside it."""
    return replicates(Responses.other, trial=Trials(trial), opponent=opponent).minus(replicates(Responses.reward, trial=Trials(trial), opponent=opponent))


def beyond_defecting(trial: str = IN_CONTEXT) -> OfSeeds:
    """What who learned beside the agent earns more than the agent, minus the same of always defecting."""
    return step(Extortion.difference, trial).minus(in_place(DEFECTOR, trial))


def together(trial: str, threshold: float) -> OfSeeds:
    """Whether the agents of a pool earn more than this from each other."""
    return exceeds(of_agents(InContextPeers.peer, trial), threshold)


def defects(id: str, statement: str, what: str, trial: str, beside: str) -> Claim:
    """Pools that lack a part come to defect, where those that have it do not."""
    check = of_mixed(
        "defect",
        Rate(f"pools whose agents earn more than {DEFECTS} from each other, {what}"),
        below(1 / 2),
        together(trial, DEFECTS),
        Control(beside, together(AMONG_POLICIES, DEFECTS)),
    )
    return Claim(id, statement, source=f"{FOLLOW_UP}, Fig. 1", checks=[check])


IN_CONTEXT_CLAIMS = [
    Claim(
        "X1",
        "Beyond the paper: recurrent agents in a pool with random memory-one policies come to cooperate with each other.",
        source=f"{FOLLOW_UP}, Fig. 1",
        checks=[
            of_mixed(
                "cooperate",
                Rate(f"pools whose agents earn more than {COOPERATES} from each other"),
                above(1 / 2),
                together(AMONG_POLICIES, COOPERATES),
                Control("without memory-one policies", together(NO_POLICIES, COOPERATES)),
            )
        ],
    ),
    defects("X2", "If they are given the opponent's policy, they defect.", "told the policies of others", TOLD, "not told"),
    defects("X3", "Without memory-one opponents, they defect.", "without memory-one policies", NO_POLICIES, "with memory-one policies"),
    Claim(
        "X4",
        "Trained against memory-one policies only, an agent best-responds within the episode.",
        source=f"{FOLLOW_UP}, Fig. 2A",
        checks=[
            of_steps(
                RETALIATOR,
                Rate(f"agents that cooperate with tit-for-tat in more than {RESPONDS} of the last third of an episode"),
                above(1 / 2),
                exceeds(late(RETALIATOR), RESPONDS),
                Control("agents without memory, trained beside the same policies", exceeds(late(RETALIATOR, NO_MEMORY), RESPONDS)),
                note=NOTES.get(f"X4.{RETALIATOR}"),
            ),
            *(
                of_steps(
                    opponent,
                    Rate(f"agents that cooperate in more than {NEGLECTS} of the last third of an episode, opponent: {opponent}"),
                    below(1 / 2),
                    exceeds(late(opponent), NEGLECTS),
                    Control("with tit-for-tat", exceeds(late(RETALIATOR), NEGLECTS)),
                    note=NOTES.get(f"X4.{opponent}"),
                )
                for opponent in (COOPERATOR, DEFECTOR)
            ),
            of_steps(
                "beyond-defecting",
                Mean("reward beside random memory-one policies, minus that of always defecting in the same games"),
                above(FOUND),
                step(Anybody.above_defecting),
                Control("agents without memory, trained beside the same policies", step(Anybody.above_defecting, NO_MEMORY)),
                note=NOTES.get("X4.beyond-defecting"),
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
                Mean("reward of the learner minus that of the agent, beyond the difference that always defecting makes"),
                above(GAINS),
                beyond_defecting(),
                Control("beside an agent without memory", beyond_defecting(NO_MEMORY)),
                note=NOTES.get("X5.extorts"),
            ),
            of_extorters(
                "yields",
                Mean("how often the agent cooperates with the learner"),
                above(0.4),
                step(Extortion.yields),
                Control("an agent without memory", step(Extortion.yields, NO_MEMORY)),
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
                Rate(f"pairs that earn more than {COOPERATES} from each other after they learned"),
                above(1 / 2),
                exceeds(step(ExtortersMet.after), COOPERATES),
                Control("new agents, trained as long on each other at the same learning rate", together(NEW_PAIRS, COOPERATES)),
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
