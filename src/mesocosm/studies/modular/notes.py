"""What stands behind verdicts of the record that do not hold, by check."""

UNLEARNED = "After 600 outer steps, all methods choose 0.80 to 0.84 of the right actions for held-out goals, and 24 to 32 % of the paths have no mistake."
SHORT = "After 2000 outer steps of 16 tasks; the paper has 100000 of 128."
NOTES = {
    "C5.connected": (
        "Ten of the twenty students have an alignment above 0.96, the other ten have 0.65 to 0.88, all with relative losses below 4e-7: the student has spare "
        "modules and units, with which the theorem does not promise alignment."
    ),
    "C5.disconnected": (
        "One of the twenty students on disconnected support has a loss of 1.6e-5, just above the limit set beforehand; the others have at most 1.2e-7. "
        "Seven of them have an alignment above 0.95: with twice the units, they need not exchange units in one half of the modules."
    ),
    "C6.continuous": (
        "Of ten students with sixteen times the modules, six keep an alignment above 0.97 and four have 0.75 to 0.88. The control is not usable here, since "
        "C5's students on connected support are not all aligned."
    ),
    "C6.discrete": "Discrete codes fall by 0.18 in the mean, continuous ones by 0.08, which ten students do not tell from 0.1.",
    "C8.k1-anil": "The two are equal here; ANIL has 300 outer steps and the linear hypernetwork 2000.",
    "C9.nonlinear-decoded": "The R^2 of 0.91 is as high as the linear hypernetwork's, but not clearly above 0.9.",
    "C9.disconnected": (
        "With six modules, codes are decoded badly on connected support too (0.43, and 0.46 on known combinations), while accuracy there is 0.14 higher than "
        "on disconnected support. With the lower outer rate of earlier records, one held and one failed."
    ),
    "C10.narrow": "It loses accuracy, but less than 0.1; the paper's 0.22 is of two generated layers.",
    "C11.all-active": (
        "The linear hypernetwork is as accurate with all four modules of each code active as with one or two; ANIL and MAML gain 0.03 to 0.04 there. The "
        "paper's drop is from two to eight active modules in two generated layers; here there is one."
    ),
    "C13.anil": f"{SHORT} The linear hypernetwork is ahead of ANIL, but not clearly by a tenth of the loss.",
    "C13.maml": f"{SHORT} The linear hypernetwork is not clearly ahead of MAML.",
    "C14.disconnected": (
        "The pilots had no rise either, in this setting or with the paper's numbers of preferences and mixtures. Held-out pairs "
        "are predicted a little better after disconnected support, with 1.7 times the loss of known ones, after 1200 outer steps, not 100000."
    ),
    "C16.anil": f"{UNLEARNED} The linear hypernetwork is ahead, but not clearly by this much.",
    "C16.anil-episodes": f"{UNLEARNED} The linear hypernetwork is not clearly ahead, and not by this much.",
    "C16.maml": f"{UNLEARNED} The linear hypernetwork is ahead by about this much.",
    "C16.maml-episodes": f"{UNLEARNED} The linear hypernetwork is ahead, but not clearly by this much.",
    "C16.nonlinear-anil": f"{UNLEARNED} The nonlinear hypernetwork is ahead, but not clearly by this much.",
    "C16.nonlinear-anil-episodes": f"{UNLEARNED} The nonlinear hypernetwork is not clearly ahead, and not by this much.",
    "C16.nonlinear-maml": f"{UNLEARNED} The nonlinear hypernetwork is ahead by about this much.",
    "C16.nonlinear-maml-episodes": f"{UNLEARNED} The nonlinear hypernetwork is ahead, but not clearly by this much.",
    "C21.nonlinear-single": "As for the linear hypernetwork.",
    "C21.single": (
        "The codes are decoded worse than with two active modules, but not badly: 64 points say much about two active modules of eight. MAML and ANIL have "
        "an R^2 of 0.79."
    ),
}
