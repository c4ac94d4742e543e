"""The paper's claims and their checks. Regions come from the paper's Table A1, from the specification's pilots and from ours on seeds from 1000 upward
(search.csv)."""

from functools import partial

from mesocosm.claims.forms import ALL, CPU, against_mutant
from mesocosm.claims.measures import Measure
from mesocosm.claims.pilots import pilots
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Trials
from mesocosm.studies.hyla.claims_raven import AMBIGUOUS, PAPER, SIZE_AND_CODES, SPLIT, needed
from mesocosm.studies.hyla.config import FUZZY_PAPER
from mesocosm.studies.hyla.measures import decoded_terms, drop, gain, longer, r2, smaller_drop, terms_gain, worse
from mesocosm.studies.hyla.notes import NOTES
from mesocosm.studies.hyla.tables import LONGER, Explained, Perplexity, codes, fuzzy, half
from mesocosm.studies.interface import Check, Claim, Control, Mean, Rate, Reference, above, below, between

of_fuzzy = partial(Check, judged_at=CPU, replicate=SPLIT, searched=pilots("mesocosm.studies.hyla").count(task="fuzzy"))
of_text = partial(Check, judged_at=CPU, replicate=SPLIT, searched=pilots("mesocosm.studies.hyla").count(task="language"))

SHUFFLED = "the same networks, on contexts whose values are shuffled among points"
NEXT_KEY = "every pair of tokens has the code of the next key"
ONE_STEP = "the code generates one layer less"
ATTENTION = ("softmax", "linear")
VARIANTS = (
    ("hyla", ONE_STEP),
    ("hyla-unnormalised", ONE_STEP),
    ("hyla-softmax", ONE_STEP),
    ("hyla-linear", ONE_STEP),
    ("hyla-linear-unnormalised", ONE_STEP),
    ("hyla-deep", ONE_STEP),
    ("linear-rms", NEXT_KEY),
    ("linear-rms-relu", NEXT_KEY),
)


def better(claim: str, check: str, variant: str, other: str = "softmax", than: str = "softmax attention") -> Check:
    """A variant generalises better to held-out combinations than another; on training's combinations, it need not."""
    return of_fuzzy(
        check,
        Mean(f"R² on held-out combinations, minus that of {than}"),
        above(0.03),
        gain(Explained.held_out, variant, other),
        Control("training's combinations", gain(Explained.train, variant, other)),
        reference=Reference(round((FUZZY_PAPER[variant] - FUZZY_PAPER[other]) / 100, 4), "paper"),
        note=NOTES.get(f"{claim}.{check}"),
    )


def unsolved(variant: str, judged_at: frozenset[str] = CPU) -> Check:
    """Unknown terms are not solved."""
    return of_fuzzy(
        variant,
        Mean("R² on combinations of unknown terms"),
        below(0.25),
        r2(Explained.unknown, fuzzy(variant)),
        Control("held-out combinations of known terms", r2(Explained.held_out, fuzzy(variant))),
        judged_at=judged_at,
    )


def terms_decoded(variant: str) -> Check:
    """The codes of training's functions tell how those of held-out ones are read. In some networks with HYLA that solve the task, codes do not depend on the
    function, so that the gain lies at two places and this is a rate.
    """
    trial, gain = codes(f"fuzzy-{variant}"), "a macro F1 above that of probes fitted on other functions' terms"
    return of_fuzzy(
        variant,
        Rate(f"networks for which probes of the last layer's codes for terms have {gain}, by 0.04"),
        above(0.5),
        decoded_terms(trial),
        Control(SHUFFLED, decoded_terms(trial, "shuffled")),
        note=NOTES.get(f"C6.{variant}"),
    )


def terms_gained(variant: str) -> Check:
    """The same as a mean, where the gain lies at one place."""
    trial = codes(f"fuzzy-{variant}")
    return of_fuzzy(
        f"{variant}-mean",
        Mean("macro F1 of probes of the last layer's codes for terms, minus that of probes fitted on other functions' terms"),
        above(0.04),
        terms_gain(trial),
        Control(SHUFFLED, terms_gain(trial, "shuffled")),
        note=NOTES.get(f"C6.{variant}-mean"),
    )


def context_helps(variant: str, layer: str, check: str, judged_at: frozenset[str]) -> Check:
    """More tokens help, unless they repeat others."""
    return of_fuzzy(
        check,
        Mean(f"{layer}'s R² on held-out combinations, minus that with half of the context"),
        above(0.05),
        longer(fuzzy(variant), Explained.held_out, half(variant)),
        Control("the longer context repeats the tokens of a shorter one", longer(fuzzy(variant), Explained.repeated, half(variant))),
        judged_at=judged_at,
        note=NOTES.get(f"C3.{check}"),
    )


def gap(trial: Trials) -> Measure[Replicates]:
    """R² on training's combinations minus R² on held-out ones."""
    return r2(Explained.train, trial).minus(r2(Explained.held_out, trial))


composed = r2(Explained.held_out, fuzzy("softmax")).minus(r2(Explained.train, fuzzy("softmax")))

CLAIMS = [
    Claim(
        "C1",
        "Multi-head attention is a linear hypernetwork: the weights of a pair of tokens over heads are a latent code that mixes value networks.",
        source="Eqs. 2 to 5, Fig. 1",
        checks=[against_mutant(f"C1 {variant}", NEXT_KEY, check=variant) for variant in ATTENTION],
    ),
    Claim(
        "C2",
        "HYLA puts a nonlinearity into the generated value network and normalises the code over heads; keys do not communicate.",
        source="Eqs. 6, 7 and 10, Table A1",
        checks=[
            *(against_mutant(f"C2 {variant}", mutant, check=variant, evidence="implementation") for variant, mutant in VARIANTS),
            against_mutant("C2 keys", "softmax over keys in place of the normalisation over heads", check="keys"),
        ],
    ),
    Claim(
        "C3",
        "Generalisation to held-out combinations of fuzzy terms falls with the fraction held out, for softmax attention more than for HYLA, which is ahead "
        "where most are held out; it rises with the context's length.",
        source="Fig. 2C, Table A1",
        checks=[
            better("C3", "hyla", "hyla"),
            *(
                of_fuzzy(
                    name,
                    Mean(f"{layer}'s R² on held-out combinations, {what}"),
                    above(least),
                    drop(Explained.held_out, variant, fewer, more),
                    Control("training's combinations", drop(Explained.train, variant, fewer, more)),
                    judged_at=judged_at,
                    note=NOTES.get(f"C3.{name}"),
                )
                for name, layer, variant, what, least, fewer, more, judged_at in (
                    ("fraction", "softmax attention", "softmax", "fewest held out minus most", 0.05, 0, 2, CPU),
                    ("fewer", "softmax attention", "softmax", "fewest held out minus a medium fraction", 0.01, 0, 1, PAPER),
                    ("more", "softmax attention", "softmax", "a medium fraction minus most", 0.01, 1, 2, PAPER),
                    ("fraction-hyla", "HYLA", "hyla", "fewest held out minus most", 0.01, 0, 2, CPU),
                )
            ),
            of_fuzzy(
                "least",
                Mean("softmax attention's R² on held-out combinations, fewest held out minus most, minus the same of HYLA"),
                above(0.08),
                smaller_drop(Explained.held_out),
                Control("training's combinations", smaller_drop(Explained.train)),
                note=NOTES["C3.least"],
            ),
            of_fuzzy(
                "gap",
                Mean("softmax attention's R² on training's combinations minus held-out ones, minus the same of HYLA"),
                above(0.05),
                gap(fuzzy("softmax")).minus(gap(fuzzy("hyla"))),
                Control("softmax attention with half of the context, in place of HYLA", gap(fuzzy("softmax")).minus(gap(half("softmax")), same_data=False)),
                judged_at=ALL,
            ),
            context_helps("softmax", "softmax attention", "length", ALL),
            context_helps("hyla", "HYLA", "length-hyla", PAPER),
            of_fuzzy(
                "longer",
                Mean("softmax attention's R² on held-out combinations, with twice the context minus with the context of the other checks"),
                above(0.05),
                longer(LONGER, Explained.held_out, fuzzy("softmax")),
                Control("the longer context repeats the tokens of a shorter one", longer(LONGER, Explained.repeated, fuzzy("softmax"))),
                judged_at=PAPER,
            ),
        ],
    ),
    Claim(
        "C4",
        "HYLA and softmax attention differ little on training's combinations.",
        source="Fig. A3B, D",
        checks=[
            of_fuzzy(
                "train",
                Mean("R² on training's combinations, HYLA minus softmax attention"),
                between(-0.05, 0.05),
                gain(Explained.train, "hyla"),
                Control("softmax attention, held-out combinations minus training's", composed),
                note=NOTES["C4.train"],
            )
        ],
    ),
    Claim(
        "C5",
        "These layers do not solve functions of unknown terms.",
        source="Fig. A3C",
        checks=[unsolved("softmax", ALL), unsolved("hyla", ALL), *map(unsolved, ("hyla-linear", "hyla-unnormalised", "linear-rms"))],
    ),
    Claim(
        "C6",
        "In most networks, terms of held-out functions can be decoded better than by chance from the latent code, by a probe that was fitted on training's "
        "functions.",
        source="Fig. 2B, D",
        checks=[terms_decoded("softmax"), terms_gained("softmax"), terms_decoded("hyla")],
    ),
    *SIZE_AND_CODES,
    Claim(
        "C13",
        "On fuzzy logic, HYLA without its nonlinearity or its normalisation also beats softmax attention, and without its nonlinearity attention with the same "
        "normalisation, in which the code enters once; on Raven matrices it needs both.",
        source="Table A1",
        checks=[
            better("C13", "nonlinearity", "hyla-linear"),
            better("C13", "normalisation", "hyla-unnormalised"),
            better("C13", "two-steps", "hyla-linear", "linear-rms", "linear attention with HYLA's normalisation"),
            needed("raven-nonlinearity", "hyla-linear"),
            needed("raven-normalisation", "hyla-unnormalised"),
        ],
    ),
    Claim(
        "C14",
        "As a language model, HYLA beats linear attention and comes close to softmax attention.",
        source="Fig. 6",
        checks=[
            of_text(
                "linear",
                Mean("log perplexity on held-out text, linear attention minus HYLA"),
                above(0.01),
                worse("linear", "hyla"),
                Control("given the last token alone", worse("linear", "hyla", Perplexity.alone)),
            ),
            of_text(
                "softmax",
                Mean("log perplexity on held-out text, HYLA minus softmax attention"),
                between(-0.05, 0.05),
                worse("hyla", "softmax"),
                Control("HYLA given the last token alone", worse("hyla", "softmax", Perplexity.alone, Perplexity.loss)),
                note=NOTES["C14.softmax"],
            ),
        ],
    ),
    AMBIGUOUS,
]
