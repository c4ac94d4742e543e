"""What stands behind verdicts of the record that do not hold, by check."""

UNLEARNED = "After 500 outer steps, all methods choose 0.71 to 0.76 of the right actions for held-out goals, and walk 9 to 18 % of the paths without a mistake."
SHORT = "After 2000 outer steps of 16 tasks, the three methods are about level; the paper has 100000 of 128."
NOTES = {
    "C5.disconnected": (
        "The difference is there, but not clearly as large as the region asks. A third of the students on disconnected support have an alignment above 0.95: "
        "with twice the units, they need not exchange units in one half of the modules."
    ),
    "C6.continuous": "Alignment falls by 0.05, inside the region; that of discrete codes, by 0.12 in the mean, may fall by as little.",
    "C6.discrete": "The difference is there, but ten students on each side leave its size open.",
    "C8.k1-anil": "The two are about equal here; ANIL has 300 outer steps and the linear hypernetwork 2000.",
    "C10.narrow": "It loses accuracy, by less than the 0.1 that the region asks, but not clearly; the paper's 0.22 is of two generated layers.",
    "C11.all-active": (
        "The linear hypernetwork is as accurate with all four modules of each code active as with one or two; ANIL and MAML gain 0.04 there. The paper's drop "
        "is from two to eight active modules in two generated layers; here there is one."
    ),
    "C13.anil": f"{SHORT} In a pilot of 1000 steps, ANIL was ahead.",
    "C13.maml": SHORT,
    "C14.disconnected": (
        "The pilots had no rise either, in this setting or with the paper's numbers of preferences and mixtures. Held-out pairs "
        "are predicted as well after disconnected as after connected support, with 1.8 times the loss of known ones, after 2000 outer steps, not 100000."
    ),
    "C16.anil": f"{UNLEARNED} ANIL is ahead.",
    "C16.anil-episodes": f"{UNLEARNED} ANIL is ahead.",
    "C16.maml": f"{UNLEARNED} The linear hypernetwork is ahead, but not clearly by this much.",
    "C16.maml-episodes": f"{UNLEARNED} The linear hypernetwork is ahead, but not by this much.",
    "C17.anil": "It loses more right actions, but not clearly more than 0.04; it loses fewer right episodes (not judged).",
    "C18.size": "The larger hypernetwork is ahead: after 500 outer steps it has learned more. The paper compares at the end of training.",
    "C21.single": (
        "The codes are decoded worse than with two active modules, but not badly: 64 points say much about two active modules of eight. MAML and ANIL have "
        "about the same R^2."
    ),
}
