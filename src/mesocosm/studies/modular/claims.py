"""The paper's claims and their checks. Regions come from theory, from the paper's numbers, and from pilots on seeds from 1000 upward."""

from functools import partial

from mesocosm.claims.forms import ALL, CPU, against_mutant, noted
from mesocosm.claims.pilots import pilots
from mesocosm.studies.interface import Check, Claim, Control, Every, Exact, Mean, above, below, between
from mesocosm.studies.modular.config import Method
from mesocosm.studies.modular.measures import (
    AGREES,
    AGREES_UNMAPPED,
    GENERALISES,
    IDENTIFIES,
    UNSCALED,
    WRONG,
    accuracy,
    alignment,
    better,
    built,
    drop,
    goal_lead,
    held_back,
    lead,
    lengthened,
    loss_over,
    lost,
    misaligned,
    r2,
    r2_drop,
    rise,
    scaled,
    seen,
    share,
    unexplained,
    wrong,
)
from mesocosm.studies.modular.notes import NOTES
from mesocosm.studies.modular.tables import Accuracy, Counterexamples, Imitation

# Number of configurations in search.csv by experiment, and by world.
TRIED = pilots("mesocosm.studies.modular")
SEARCHED, IN_WORLDS = TRIED.counts("experiment"), TRIED.counts("world")

PAPER = frozenset({"paper"})
TEACHER = "teacher, tasks, inputs, starts"
NETWORK = "teacher, split, initialisation, training and test tasks"
FEWER_ERRORS, MORE_ERRORS = -0.105, 0.182
"""The logarithms of 0.9 and 1.2, of the specification."""
ALMOST_ALL = above(0.9)
"""Each student is right or not; this is what a few per teacher can show."""

# Mathematics decides what students without training loss do; which of them descent finds from random starts is a finding.
by_theorem = partial(Check, judged_at=ALL, replicate=TEACHER, evidence="identity")
of_students = partial(Check, judged_at=ALL, replicate=TEACHER)
by_descent = partial(Check, judged_at=CPU, replicate=TEACHER, searched=SEARCHED["descent"])
on_preferences = partial(Check, judged_at=CPU, replicate="preferences, split, initialisation, demonstrations", searched=IN_WORLDS["preferences"])
on_goals = partial(Check, judged_at=CPU, replicate="mazes, split, initialisation, demonstrations", searched=IN_WORLDS["goals"])
of_networks = partial(Check, judged_at=CPU, replicate=NETWORK, searched=SEARCHED["teacher"])
BASELINES: tuple[tuple[Method, str], ...] = (("anil", "ANIL"), ("maml", "MAML"))
PREFIX: dict[Method, str] = {"linear": "", "nonlinear": "nonlinear-"}
"""How names of checks of the two hypernetworks begin."""
FALLS: dict[Method, float] = {"linear": 0.1, "nonlinear": 0.045}
"""By how much R^2 falls on non-compositional support; half of the paper's 0.24 and 0.09, rounded down."""
LUCK = "Students on this support may be right by luck: their units are then in the same places in both halves."
ON_THE_TEACHER = "the teacher in another basis, whose codes must be found"
AGAIN = "from another start"
KNOWN = "known combinations, half of them decoded by the others"


def fails_elsewhere(student: str) -> list[Check]:
    """The constructed student has no loss on its families, and is wrong on codes with all modules active."""
    construction = partial(Check, judged_at=ALL, replicate="a random teacher")
    return [
        construction(
            f"{student}-trained",
            Exact("relative squared error on the families"),
            below(1e-20),
            built(Counterexamples.trained, student),
            Control("all modules active", built(Counterexamples.unseen, student)),
        ),
        construction(
            f"{student}-unseen",
            Every("log10 of the relative squared error, all modules active, best codes"),
            above(-4.0),
            wrong(student),
            Control(ON_THE_TEACHER, wrong("teacher")),
        ),
    ]


def beats(method: Method, other: Method, name: str) -> Check:
    """A hypernetwork is ahead on held-out combinations, if the support is compositional."""
    return of_networks(
        f"{PREFIX[method]}{other}",
        Mean(f"accuracy on held-out combinations, {method} hypernetwork minus {name}, K = 2"),
        above(0.1),
        lead("k2", method, other),
        Control("non-compositional support", lead("non-compositional", method, other)),
    )


def loses_to(method: Method, other: Method, name: str, problem: str, support: str) -> Check:
    """A hypernetwork is behind on held-out combinations."""
    return of_networks(
        f"{PREFIX[method]}{problem}-{other}",
        Mean(f"accuracy on held-out combinations, {method} hypernetwork minus {name}, {support}"),
        below(0.0),
        lead(problem, method, other),
        Control("random combinations, K = 2", lead("k2", method, other)),
    )


_CLAIMS = [
    Claim(
        "C1",
        "With compositional and connected support and a student of the teacher's size, zero training loss means zero loss on all combinations.",
        source="Thm 1",
        checks=[
            by_theorem(
                name,
                Mean("share of students without training loss that are right on unseen codes, mean over teachers"),
                ALMOST_ALL,
                share("connected", GENERALISES),
                Control(removed, share(condition, GENERALISES)),
            )
            for name, removed, condition in (
                ("connected", "every module, but each alone: compositional, not connected", "one-hot"),
                ("compositional", "one module absent: connected, not compositional", "absent"),
            )
        ],
    ),
    Claim(
        "C2",
        "For each family of tasks, one task more than the dimension that it spans suffices: the number of tasks is linear in that of the modules.",
        source="Thm 9",
        checks=[
            by_theorem(
                "tasks",
                Mean("share of students without loss on three tasks for each pair of modules that are right on unseen codes"),
                ALMOST_ALL,
                share("connected", GENERALISES),
                Control("one task for each pair", share("one task", GENERALISES)),
            ),
            *(
                by_theorem(
                    f"{words}-modules",
                    Mean(f"share of students without loss on three tasks for each pair of {words} modules in a row that are right on unseen codes"),
                    ALMOST_ALL,
                    share("connected", GENERALISES, modules=modules),
                    Control("one task for each pair", share("one task", GENERALISES, modules=modules)),
                    judged_at=CPU,
                )
                for modules, words in ((2, "two"), (3, "three"))
            ),
        ],
    ),
    Claim(
        "C3",
        "A student that is right on all codes has the teacher's modules up to one invertible map, the order of units, and a scale and a sign for each unit; up "
        "to the map, the order and the scales, they suffice.",
        source="Thm 2",
        checks=[
            against_mutant("C3 symmetry", "each unit has a map of its own", check="symmetry"),
            by_theorem(
                "equivalent",
                Mean("share of students without training loss, of four supports, that are aligned and right on unseen codes, or neither"),
                above(0.9),
                share(("connected", "disconnected", "absent", "one-hot"), AGREES),
                Control("alignment without the map", share(("connected", "disconnected", "absent", "one-hot"), AGREES_UNMAPPED)),
            ),
        ],
    ),
    Claim(
        "C4",
        "Compositional support, connected support and a student without spare hidden units are each needed.",
        source="App. A.3",
        checks=[
            *(check for student in ("missing", "swapped", "doubled", "wide") for check in fails_elsewhere(student)),
            *(
                form(
                    name,
                    Mean(f"share of students without training loss that are wrong on unseen codes, {words}"),
                    above(0.2),
                    share(condition, WRONG),
                    Control("connected support", share("connected", WRONG)),
                    note=note,
                )
                for form, name, condition, words, note in (
                    (of_students, "disconnected", "disconnected", "disconnected support", LUCK),
                    (by_theorem, "absent", "absent", "one module absent", None),
                    (of_students, "one-hot", "one-hot", "single modules", None),
                )
            ),
        ],
    ),
    Claim(
        "C5",
        "Trained by gradient descent, students align with the teacher's modules on connected support, and less on disconnected support.",
        source="Fig. 2C",
        checks=[
            by_descent(
                "connected",
                Mean("alignment, smallest over the teacher's units, connected support"),
                above(0.85),
                alignment("connected"),
                Control("twelve modules, in pairs that share none", alignment("apart")),
            ),
            by_descent(
                "disconnected",
                Mean("alignment, smallest over the teacher's units, connected minus disconnected support"),
                above(0.1),
                misaligned("connected", "disconnected"),
                Control("two connected supports", misaligned("connected", "reordered")),
            ),
        ],
    ),
    Claim(
        "C6",
        "With four times the teacher's hidden units, students with 16 times its modules align less than those with twice as many if codes are discrete, and "
        "not if they are continuous.",
        source="Fig. 2D",
        checks=[
            by_descent(
                "discrete",
                Mean("alignment, students with twice minus 16 times the teacher's modules, discrete codes"),
                above(0.1),
                misaligned("discrete-2x4", "discrete-16x4"),
                Control("continuous codes", misaligned("continuous-2x4", "continuous-16x4")),
            ),
            by_descent(
                "continuous",
                Mean("alignment, students with twice minus 16 times the teacher's modules, continuous codes"),
                between(-0.1, 0.1),
                misaligned("continuous-2x4", "continuous-16x4"),
                Control("connected support minus twelve modules in pairs that share none (C5)", misaligned("connected", "apart")),
            ),
        ],
    ),
    Claim(
        "C7",
        "On held-out combinations, hypernetworks are ahead of ANIL with 300 and MAML with 400 outer steps, which do not fit known ones; on "
        "non-compositional support they are behind.",
        source="Fig. 3B, Tables A3 to A8",
        checks=[
            *(beats(method, other, name) for method in PREFIX for other, name in BASELINES),
            *(
                of_networks(
                    f"{method}-underfits",
                    Mean(f"accuracy on known combinations, {name}, K = 2"),
                    below(0.7),
                    accuracy(Accuracy.known, "k2", method),
                    Control("the linear hypernetwork", accuracy(Accuracy.known, "k2", "linear")),
                )
                for method, name in BASELINES
            ),
            *(loses_to(method, other, name, "non-compositional", "no task with the last module") for method in PREFIX for other, name in BASELINES),
        ],
    ),
    Claim(
        "C8",
        "If one module of each code is active, hypernetworks lose much on held-out combinations, and ANIL is ahead.",
        source="Fig. 3E, Tables A2 and A5",
        checks=[
            check
            for method, prefix in PREFIX.items()
            for check in (
                of_networks(
                    f"{prefix}gap",
                    Mean(f"accuracy on known minus held-out combinations, {method} hypernetwork, K = 1"),
                    above(0.15),
                    drop("k1", method),
                    Control("K = 2", drop("k2", method)),
                ),
                loses_to(method, "anil", "ANIL", "k1", "K = 1"),
            )
        ],
    ),
    Claim(
        "C9",
        "Codes of held-out tasks can be decoded from hypernetworks, less so on non-compositional support, and much less on disconnected support.",
        source="Fig. 3C, 3D",
        checks=[
            *(
                check
                for method, fall in FALLS.items()
                for check in (
                    of_networks(
                        f"{PREFIX[method]}decoded",
                        Mean(f"R^2 of the codes of held-out combinations, {method} hypernetwork, K = 2"),
                        above(0.9),
                        r2("k2", method),
                        Control("non-compositional support", r2("non-compositional", method)),
                    ),
                    of_networks(
                        f"{PREFIX[method]}non-compositional",
                        Mean(f"R^2 of the codes of held-out combinations, {method} hypernetwork, K = 2 minus non-compositional support"),
                        above(fall),
                        r2_drop("k2", "non-compositional", method),
                        Control(KNOWN, r2_drop("k2", "non-compositional", method, Accuracy.r2_known)),
                    ),
                )
            ),
            of_networks(
                "disconnected",
                Mean("R^2 of the codes of held-out combinations, connected minus disconnected support"),
                above(0.2),
                r2_drop("connected", "disconnected", "linear"),
                Control(KNOWN, r2_drop("connected", "disconnected", "linear", Accuracy.r2_known)),
            ),
        ],
    ),
    Claim(
        "C10",
        "In the hyperteacher, a linear hypernetwork needs more hidden units than the teacher: with as many, it loses accuracy on held-out combinations.",
        source="Fig. 3F",
        checks=[
            of_networks(
                "narrow",
                Mean("accuracy on held-out combinations, linear hypernetwork minus one with as many hidden units as the teacher, K = 2"),
                above(0.1),
                better("-narrow"),
                Control(AGAIN, better("-again")),
            )
        ],
    ),
    Claim(
        "C11",
        "A linear hypernetwork overfits to the number of modules that are active in training.",
        source="Table A6",
        checks=[
            of_networks(
                "all-active",
                Mean("accuracy on known combinations minus accuracy with all modules active, linear hypernetwork, K = 2"),
                above(0.1),
                drop("k2", "linear", Accuracy.every),
                Control("held-out combinations with at most two active modules", drop("k2", "linear")),
            )
        ],
    ),
    Claim(
        "C12",
        "With a quarter of the points for each task, a linear hypernetwork is less accurate on held-out combinations.",
        source="Fig. A4",
        checks=[
            of_networks(
                "few",
                Mean("accuracy on held-out combinations, linear hypernetwork with all minus a quarter of the points for each task, K = 2"),
                above(0.05),
                better("-few"),
                Control(AGAIN, better("-again")),
            )
        ],
    ),
    Claim(
        "C13",
        "Hypernetworks predict action values of held-out mixtures of preferences better than ANIL and MAML; a linear one is worse if a preference is held out.",
        source="Fig. 4C",
        checks=[
            *(
                on_preferences(
                    f"{prefix}{other}",
                    Mean(f"log of the loss on held-out mixtures, {method} hypernetwork over {name}"),
                    below(FEWER_ERRORS),
                    loss_over(method, other),
                    Control("codes from another mixture's demonstrations", loss_over(method, other, Imitation.strangers_loss)),
                    judged_at=CPU if method == "linear" else PAPER,
                )
                for method, prefix in PREFIX.items()
                for other, name in BASELINES
            ),
            on_preferences(
                "held-out-preference",
                Mean("log of the loss over the variance of the targets, mixtures with a held-out preference over random held-out ones, linear hypernetwork"),
                above(MORE_ERRORS),
                unexplained("preferences-random", "preferences-non-compositional"),
                Control("the same mixtures, a network that has seen the preference", seen()),
            ),
        ],
    ),
    Claim(
        "C14",
        "Disconnected preferences raise the loss of a linear hypernetwork on held-out mixtures.",
        source="Fig. 4B",
        checks=[
            on_preferences(
                "disconnected",
                Mean("log of the loss on held-out mixtures, disconnected over connected support, linear hypernetwork"),
                above(MORE_ERRORS),
                rise(Imitation.held_out_loss, "preferences-connected", "preferences-disconnected"),
                Control("known mixtures", rise(Imitation.known_loss, "preferences-connected", "preferences-disconnected")),
            )
        ],
    ),
    Claim(
        "C15",
        "Codes of twice the length do not raise the loss of a linear hypernetwork on held-out mixtures of preferences by a fifth.",
        source="Fig. A8",
        checks=[
            on_preferences(
                "longer",
                Mean("log of the loss on held-out mixtures, linear hypernetwork of C13 over one with codes of half the length"),
                below(MORE_ERRORS),
                lengthened(),
                Control("a preference held out, loss over the variance of the targets", unexplained("preferences-random", "preferences-non-compositional")),
                judged_at=PAPER,
            )
        ],
    ),
    Claim(
        "C16",
        "With compositional goals, hypernetworks choose more of the right actions for held-out goals than ANIL and MAML.",
        source="Fig. 4E, A9",
        checks=[
            on_goals(
                f"{prefix}{other}{suffix}",
                Mean(f"{words}, {method} hypernetwork minus {name}"),
                above(margin),
                goal_lead(column, "goals-random", method, other),
                Control("a quadrant held out", goal_lead(column, "goals-non-compositional", method, other)),
            )
            for method, prefix in PREFIX.items()
            for other, name in BASELINES
            for suffix, column, margin, words in (
                ("", Imitation.held_out_accuracy, 0.04, "share of right actions for held-out goals"),
                ("-episodes", Imitation.held_out_episodes, 0.1, "share of episodes with only right actions for held-out goals"),
            )
        ],
    ),
    Claim(
        "C17",
        "If one quadrant is held out, hypernetworks lose more than ANIL and MAML.",
        source="Fig. 4F",
        checks=[
            on_goals(
                f"{prefix}{other}",
                Mean(f"loss of accuracy from random held-out goals to a held-out quadrant, {method} hypernetwork minus {name}"),
                above(0.04),
                lost(Imitation.held_out_accuracy, method, other),
                Control("known goals", lost(Imitation.known_accuracy, method, other)),
            )
            for method, prefix in PREFIX.items()
            for other, name in BASELINES
        ],
    ),
    Claim(
        "C18",
        "A linear hypernetwork of another size, with half the hidden units and numbers in its codes or four times as many (paper), has the same accuracy on "
        "held-out goals, within 0.04.",
        source="Fig. A10",
        checks=[
            on_goals(
                "size",
                Mean("share of right actions for held-out goals, linear hypernetwork of the other size minus the one of C16"),
                between(-0.04, 0.04),
                scaled(Imitation.held_out_accuracy),
                Control("a quadrant held out minus random goals", held_back(Imitation.held_out_accuracy)),
            )
        ],
    ),
    Claim(
        "C19",
        "Wider students that are right for almost all codes have the teacher's units, some of them split.",
        source="Thm 5",
        checks=[
            against_mutant("C19 split", "surplus units add up instead of cancelling", check="split"),
            by_theorem(
                "wider",
                Mean("share of students that are right on unseen codes of which one unit is aligned with the teacher's only unit; students have three"),
                ALMOST_ALL,
                share("wider", IDENTIFIES, GENERALISES),
                Control("students without training loss that are wrong on unseen codes", share("wider", IDENTIFIES, WRONG)),
            ),
        ],
    ),
    Claim(
        "C20",
        "With a smooth activation, the modules are identified without scales and signs.",
        source="Thm 7, 8",
        checks=[
            against_mutant("C20 permutation", "units are rescaled", check="permutation"),
            by_theorem(
                "unscaled",
                Mean("share of students without training loss that are right on unseen codes with units of the teacher's scale and sign"),
                ALMOST_ALL,
                share("smooth", GENERALISES & UNSCALED),
                Control("ReLU", share("connected", GENERALISES & UNSCALED)),
            ),
        ],
    ),
    Claim(
        "C21",
        "Codes of held-out tasks can hardly be decoded from hypernetworks if one module of each code is active.",
        source="Fig. A6",
        checks=[
            of_networks(
                f"{prefix}single",
                Mean(f"R^2 of the codes of held-out combinations, {method} hypernetwork, K = 1"),
                below(0.5),
                r2("k1", method),
                Control("K = 2", r2("k2", method)),
            )
            for method, prefix in PREFIX.items()
        ],
    ),
]

CLAIMS = noted(_CLAIMS, NOTES)
