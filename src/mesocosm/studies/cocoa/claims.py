"""The paper's claims, and the checks of those about exact models. Regions are the paper's or come from pilots on seeds from 1000 upward."""

from functools import partial

from mesocosm.claims.forms import ALL, CPU, against_mutant
from mesocosm.claims.measures import instances
from mesocosm.studies.cocoa import measures
from mesocosm.studies.cocoa.arm_checks import NAMES, SEARCHED, judged
from mesocosm.studies.cocoa.claims_gradients import GRADIENT_CLAIMS, LONGER
from mesocosm.studies.cocoa.claims_learned import BRIEF, LEARNED_CLAIMS, WHOLE_BUDGET
from mesocosm.studies.cocoa.config import Config
from mesocosm.studies.cocoa.notes import NOTES
from mesocosm.studies.cocoa.references import FAR_RATIO, RATIO
from mesocosm.studies.cocoa.tables import EXACT, Covariances, Signal, SignalByReturn, Theorems, Tree, TreeEpisodes, TreeGroups, at_rate
from mesocosm.studies.interface import Check, Claim, Control, Every, Exact, Mean, Rate, Reference, above, below, between

INSTANCE = "a random process and policy"
ENVIRONMENT = "a reward function, all five"
LAYOUT = "layout of the apples, sampled episodes"
EPISODES = "sampled episodes"


# Arguments shared by similar checks.
exact = partial(against_mutant, by=Theorems.theorem, of="largest error, float64", tolerance=1e-9, replicate=INSTANCE)
computed = partial(Check, judged_at=ALL)
on_the_tree = partial(computed, searched=SEARCHED["trees"], replicate=ENVIRONMENT)
learned = partial(Check, replicate=EPISODES, searched=SEARCHED["learning"])
# Expectations under a fixed policy: mathematics decides them, although samples estimate them.
in_the_room = partial(computed, searched=SEARCHED["signal"], replicate=LAYOUT, evidence="identity")


def most_overlap(config: Config) -> int:
    """The largest measured overlap."""
    return max(config.trees.overlaps)


def most_groups(config: Config) -> int:
    """The largest number of groups in the sweep."""
    return max(config.trees.sweep_groups)


def solves(estimator: str) -> Check:
    """The estimator solves the task almost at once in more than half of all trainings."""
    return learned(
        estimator,
        Rate("trainings in which the treasure reaches probability 0.9 within 500 iterations"),
        above(0.5),
        measures.solved(estimator),
        Control("REINFORCE", measures.solved("reinforce")),
        judged_at=ALL,
    )


def not_at_once(estimator: str) -> Check:
    """The estimator does not solve the task almost at once in half of all trainings."""
    return learned(
        estimator,
        Rate("trainings in which the treasure reaches probability 0.9 within 500 iterations"),
        below(0.5),
        measures.solved(estimator),
        Control("COCOA-reward", measures.solved("cocoa-reward")),
        judged_at=CPU,
    )


def not_consistently(estimator: str, paper: float) -> Check:
    """The estimator does not find the treasure reliably in half of the paper's whole trainings; the mean of Fig. 3B is a bound on that share."""
    return Check(
        f"{estimator}-at-last",
        Rate("trainings in which the treasure has probability 0.9 or more over the last tenth of 10000 iterations (the paper's number: mean probability)"),
        below(0.5),
        measures.exceeds(measures.whole(estimator), 0.9),
        Control("COCOA-reward at the same rate", measures.exceeds(measures.whole(at_rate("cocoa-reward", estimator)), 0.9)),
        judged_at=CPU,
        replicate=EPISODES,
        searched=SEARCHED.get("whole", 0),
        reference=Reference(paper, "paper"),
        note=NOTES.get(f"C12.{estimator}-at-last"),
    )


def loses(estimator: str, least: float) -> Check:
    """What an estimator with learned models loses with distance; regions lie between COCOA-reward's and its own loss in the paper."""
    return judged(
        "shadow",
        "C17",
        f"{estimator}-learned",
        Mean(f"signal-to-noise ratio of {NAMES[estimator]} along shadow training, distance 20 less distance 100", "dB"),
        above(least),
        measures.shadow_fall(estimator),
        Control("COCOA-reward with exact models", measures.shadow_fall(f"{EXACT}cocoa-reward")),
        RATIO[estimator] - FAR_RATIO[estimator],
        differs=LONGER,
    )


def loses_little(estimator: str) -> Check:
    """COCOA loses little in most trainings; the others lose 6.8 dB and more in the paper, but for HCA-return."""
    return judged(
        "shadow",
        "C17",
        f"{estimator}-learned",
        Rate(f"trainings in which {NAMES[estimator]} loses less than 5 dB (signal-to-noise ratio along shadow training, distance 20 less distance 100)"),
        above(0.5),
        measures.stays_below(measures.shadow_fall(estimator), 5.0),
        Control("REINFORCE", measures.stays_below(measures.shadow_fall("reinforce"), 5.0)),
        with_features=estimator == "cocoa-feature",
    )


EXACT_CLAIMS = [
    Claim(
        "C1",
        "With exact coefficients of an outcome from which the reward can be predicted, the COCOA gradient is unbiased and decomposes the advantage.",
        source="Theorem 1, Lemma 6",
        checks=[
            exact("C1 decomposition", "two rewards share an outcome", check="decomposition"),
            exact("C1 unbiased", "the present reward is credited once more", check="unbiased", of="largest error of the mean gradient, relative, float64"),
        ],
    ),
    Claim(
        "C2",
        "Where every action sequence leads to a state of its own, HCA+ is REINFORCE, episode by episode.",
        source="Prop. 2",
        checks=[
            computed(
                "episodes",
                Exact("largest difference of gradients of one episode, relative, all episodes of all reward functions"),
                below(1e-10),
                measures.every(TreeEpisodes.apart, overlap=0),
                Control("one child shared by neighbours", measures.every(TreeEpisodes.apart, overlap=1)),
                replicate="a reward function, all 1296 episodes",
            )
        ],
    ),
    Claim(
        "C3",
        "Along a chain of encodings each of which predicts the next, from states to rewards, covariances fall in the positive-semidefinite order; "
        "REINFORCE's is the largest.",
        source="Theorem 3",
        checks=[
            computed(
                "order",
                Every("smallest eigenvalue of successive differences of covariances"),
                above(-1e-10),
                instances(Covariances.smallest_eigenvalue),
                Control("the order reversed", instances(Covariances.mutant)),
                replicate="a random process with one decision",
            )
        ],
    ),
    Claim(
        "C4",
        "The gradient of the number of future encounters of an outcome is a sum over visited states of coefficients times later encounters.",
        source="Theorem 4",
        checks=[exact("C4", "visits without the start", check="gradient", of="largest error against autodiff, relative, float64", evidence="implementation")],
    ),
    Claim(
        "C5",
        "Giving the policy's logits to the hindsight model leaves its target unchanged.",
        source="Prop. 5",
        checks=[exact("C5", "batches of two policies", check="target", of="largest difference of the distributions, float64")],
    ),
    Claim(
        "C6",
        "The best contrastive discriminator gives the contribution coefficients; with a network that is trained so, a policy, here at distance 20, finds more "
        "of the treasure than with REINFORCE, by more than 0.3 on average over training, and slightly less than with a classifier.",
        source="Prop. 7, App. D.2",
        checks=[
            exact("C6", "negatives drawn uniformly", check="discriminator"),
            judged(
                "learned",
                "C6",
                "learned",
                Mean(f"{BRIEF}, {NAMES['cocoa-contrastive']} less REINFORCE, distance 20"),
                above(0.3),
                measures.brief_lead("cocoa-contrastive", "reinforce"),
                Control(f"{NAMES['immediate']} less REINFORCE", measures.brief_lead("immediate", "reinforce")),
            ),
            judged(
                "learned",
                "C6",
                "classifier",
                Mean(f"{BRIEF}, {NAMES['cocoa-contrastive']} less COCOA-reward, distance 20"),
                between(-0.2, 0.0),
                measures.brief_lead("cocoa-contrastive", "cocoa-reward"),
                Control(f"{NAMES['immediate']} less COCOA-reward", measures.brief_lead("immediate", "cocoa-reward")),
            ),
        ],
    ),
    Claim(
        "C7",
        "Coefficients of rewards are coefficients of states, averaged over the states in which the reward comes.",
        source="Prop. 8, 9",
        checks=[exact("C7", "averaged over all states", check="average")],
    ),
    Claim(
        "C8",
        "HCA-return is biased even with the exact hindsight distribution; the Counterfactual Return is unbiased.",
        source="App. L, F.3",
        checks=[
            exact("C8 counterfactual return", "HCA-return", check="unbiased"),
        ],
    ),
    Claim(
        "C9",
        "Discounted coefficients and the n-step form with a bootstrap are unbiased; a discount is a probability to survive.",
        source="App. B, J, K; Theorem 10",
        checks=[
            exact("C9 discounted", "undiscounted coefficients", check="discounted"),
            exact("C9 survival", "the process that always survives", check="survival"),
            exact("C9 n-step", "no coefficients at the bootstrap", check="n-step", of="largest error of the mean gradient, relative, float64"),
        ],
    ),
    Claim(
        "C10",
        "On the tree HCA+ has REINFORCE's variance without overlap and less with it; COCOA-reward has the least; groups lie between, more groups higher.",
        source="Fig. 2B",
        checks=[
            on_the_tree(
                "no-overlap",
                Exact("|variance of HCA+ over that of REINFORCE - 1|"),
                below(1e-8),
                measures.apart("reinforce", "hca-plus", Tree.rows(overlap=0)),
                Control("overlap 1", measures.apart("reinforce", "hca-plus", Tree.rows(overlap=1))),
            ),
            on_the_tree(
                "lowest",
                Every("lead of COCOA-reward's variance over REINFORCE's, all overlaps and reward functions", "dB"),
                above(3.0),
                measures.leads("cocoa-reward", "reinforce"),
                Control("HCA+", measures.leads("hca-plus", "reinforce")),
            ),
            on_the_tree(
                "overlap",
                Every("lead of HCA+'s variance over REINFORCE's at the largest overlap, all reward functions", "dB"),
                above(0.7),
                measures.leads("hca-plus", "reinforce", most_overlap),
                Control("overlap 0", measures.leads("hca-plus", "reinforce", 0)),
            ),
            *(
                on_the_tree(
                    name,
                    Every(f"lead of {low} over {high}, mean over overlaps above 0, all reward functions", "dB"),
                    above(0.1),
                    measures.mean_lead(low, high),
                    Control(control, measures.mean_lead(*without)),
                )
                for name, low, high, control, without in (
                    ("few-groups", "cocoa-reward", "groups-4", "the groups shuffled among all events", ("cocoa-reward", "shuffled-4")),
                    ("more-groups", "groups-4", "groups-32", "the groups shuffled among all events", ("shuffled-4", "shuffled-32")),
                    ("states", "groups-32", "hca-plus", "the whole history instead of groups (REINFORCE)", ("reinforce", "hca-plus")),
                )
            ),
        ],
    ),
    Claim(
        "C11",
        "At one overlap the variance rises with the number of groups, from COCOA-reward's towards HCA+'s.",
        source="Fig. 7",
        checks=[
            on_the_tree(
                "rises",
                Every("smallest rise of the variance when the number of groups doubles, all reward functions", "dB"),
                above(1e-6),  # more than rounding
                measures.smallest_rise("groups"),
                Control("the groups shuffled among all events", measures.smallest_rise("shuffled")),
            ),
            on_the_tree(
                "from-rewards",
                Exact("|variance with one group over that of COCOA-reward - 1|"),
                below(1e-9),
                measures.apart("cocoa-reward", "groups-1", TreeGroups.rows()),
                Control("two groups", measures.apart("cocoa-reward", "groups-2", TreeGroups.rows())),
                evidence="implementation",
            ),
            on_the_tree(
                "to-states",
                Every("share of the way from COCOA-reward's variance to HCA+'s, most groups, all reward functions"),
                above(0.5),
                measures.way_to_states(most_groups),
                Control("two groups", measures.way_to_states(lambda config: 2)),
            ),
        ],
    ),
    Claim(
        "C12",
        "With exact models COCOA-reward solves key-to-door at distance 100 almost at once, like the Q-critic; HCA+ and HCA-return do not, and do not find the "
        "treasure reliably within 10000 iterations.",
        source="Fig. 3B left",
        checks=[
            solves("cocoa-reward"),
            solves("q-critic"),
            not_at_once("hca-plus"),
            not_at_once("hca-return"),
            not_consistently("hca-plus", 0.312),
            not_consistently("hca-return", 0.435),
        ],
    ),
    Claim(
        "C17",
        "The signal-to-noise ratio of classical estimators and of HCA+ falls with distance; COCOA-reward's does not. Here: exact models under the uniform "
        "policy, and, but for HCA+, learned ones along shadow training, where COCOA-reward and COCOA-feature in most trainings lose less than 5 dB, HCA-return "
        "more than 1.5, and the others more than 3.",
        source="Fig. 1B right",
        checks=[
            in_the_room(
                "flat",
                Mean("signal-to-noise ratio of COCOA-reward, distance 20 less distance 100", "dB"),
                between(-0.5, 0.5),
                measures.fall("cocoa-reward"),
                Control("REINFORCE", measures.fall("reinforce")),
            ),
            *(
                in_the_room(
                    f"{estimator}-falls",
                    Mean(f"signal-to-noise ratio of {NAMES[estimator]}, distance 20 less distance 100", "dB"),
                    above(least),
                    measures.fall(estimator),
                    Control("COCOA-reward", measures.fall("cocoa-reward")),
                )
                for estimator, least in (("reinforce", 10.0), ("hca-plus", 10.0), ("advantage", 3.0), ("trajcv", 3.0))
            ),
            in_the_room(
                "lead",
                Mean("signal-to-noise ratio at distance 20, COCOA-reward less TrajCV", "dB"),
                above(20.0),
                measures.signal_lead(Signal, "cocoa-reward", "trajcv"),
                Control("TrajCV less Advantage", measures.signal_lead(Signal, "trajcv", "advantage")),
            ),
            *(loses_little(estimator) for estimator in ("cocoa-reward", "cocoa-feature")),
            *(
                loses(estimator, least)
                for estimator, least in (("q-critic", 3.0), ("advantage", 3.0), ("trajcv", 3.0), ("hca-return", 1.5), ("reinforce", 3.0))
            ),
        ],
    ),
    Claim(
        "C22",
        "HCA-return and Counterfactual Return are far behind COCOA-reward, with exact models at distance 100 and with learned ones, here at distance 20.",
        source="Fig. 11",
        checks=[
            *(
                learned(
                    estimator,
                    Rate(f"trainings in which COCOA-reward's probability of the treasure ends more than 0.5 above that of {NAMES[estimator]}"),
                    above(0.5),
                    measures.behind(estimator),
                    Control("Q-critic", measures.behind("q-critic")),
                    judged_at=CPU,
                )
                for estimator in ("hca-return", "counterfactual-return")
            ),
            *(
                in_the_room(
                    f"{estimator}-signal",
                    Mean(f"signal-to-noise ratio at distance 20, COCOA-reward less {NAMES[estimator]}", "dB"),
                    above(10.0),
                    measures.signal_lead(SignalByReturn, "cocoa-reward", estimator, apples=True),
                    Control("no apples, so that the return is the treasure", measures.signal_lead(SignalByReturn, "cocoa-reward", estimator, apples=False)),
                )
                for estimator in ("hca-return", "counterfactual-return")
            ),
            *(
                judged(
                    "learned",
                    "C22",
                    f"{estimator}-learned",
                    Mean(f"treasure, average over 5000 iterations, COCOA-reward less {NAMES[estimator]}, learned models, distance 20"),
                    above(0.3),
                    measures.brief_lead("cocoa-reward", estimator),
                    Control(f"{NAMES['cocoa-merged']} less {NAMES[estimator]}", measures.brief_lead("cocoa-merged", estimator)),
                    paper,
                    differs="" if paper is None else WHOLE_BUDGET,
                )
                for estimator, paper in (("hca-return", 0.65), ("counterfactual-return", None))
            ),
        ],
    ),
]

CLAIMS = sorted([*EXACT_CLAIMS, *LEARNED_CLAIMS, *GRADIENT_CLAIMS], key=lambda claim: int(claim.id[1:]))
