"""What stands behind verdicts of the record that do not hold, by check."""

UNLEARNED = "After 500 outer steps all methods choose about three quarters of the right actions, and walk at most one path in four without a mistake."
SHORT = "After 2000 outer steps of 16 tasks, the three methods are about level; the paper has 100000 of 128."
NOTES = {
    "C5.disconnected": (
        "The difference is there, but not clearly as large as the region asks. Students on disconnected support are often aligned: with twice the units they "
        "need not exchange units in one half of the modules, and descent mostly does not."
    ),
    "C6.discrete": "The difference is there, but ten students on each side leave its size open.",
    "C8.k1-anil": "The two are about equal here; ANIL has 300 outer steps and the linear hypernetwork 2000.",
    "C10.narrow": "It loses accuracy, by about what the region asks; the paper's 0.22 is of two generated layers.",
    "C11.all-active": (
        "With one generated layer, the linear hypernetwork is as accurate with all four modules of each code active as with one or two. The paper's drop is "
        "from two to eight active modules in two generated layers."
    ),
    "C13.anil": f"{SHORT} In a pilot of 1000 steps, ANIL was ahead.",
    "C13.maml": SHORT,
    "C14.disconnected": (
        "The pilots had no rise either, in this setting or with the paper's numbers of preferences and mixtures. Pairs of preferences from different halves "
        "are predicted about as well as others after 2000 outer steps; the paper has 100000."
    ),
    "C15.wide": "After 2000 outer steps the longer codes are behind; the paper's comparison, 0.28, is after 100000. Their rates are those of the shorter ones.",
    "C16.anil": f"{UNLEARNED} ANIL is ahead.",
    "C16.anil-episodes": f"{UNLEARNED} ANIL is ahead.",
    "C16.maml": f"{UNLEARNED} The linear hypernetwork is ahead, but not clearly by this much.",
    "C16.maml-episodes": f"{UNLEARNED} The linear hypernetwork is ahead, but not by this much.",
    "C17.anil": "It loses more, but ten networks are too few to be sure of more than 0.04.",
    "C18.wide": "The larger hypernetwork is ahead: after 500 outer steps it has learned more. The paper compares at the end of training.",
    "C21.single": (
        "The codes are decoded worse than with two active modules, but not badly: 64 points say much about two active modules of eight. MAML and ANIL have "
        "about the same R^2."
    ),
}
