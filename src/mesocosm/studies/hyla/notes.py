"""Notes on verdicts of the hyla study. What checks that are not judged would take is on the study's page."""

NOTES = {
    "C3.hyla": "HYLA is ahead on nine of ten splits, by more than 0.03 on four: the interval reaches below the region. Its mean over the four records before "
    "is 0.072, with which ten replicates have a chance of about one half.",
    "C3.fraction-hyla": "HYLA gains on held-out combinations and does not lose on training's, so that its control reaches the region.",
    "C3.least": "That HYLA falls less is not in doubt (all ten splits, interval above 0.04); whether by more than 0.08 is: on five. The mean of all records "
    "lies at the region's edge, so ten replicates cannot decide this. Four pilots, from which the region comes, had differences of 0.08 to 0.18.",
    "C4.train": "HYLA fits training's combinations worse at this size, after a twentieth of the paper's steps: on all ten splits, by 0.05 to 0.21, and in all "
    "pilots.",
    "C7.matrices-hyla": "HYLA solves more after four times as many matrices in all ten networks, by 0.05 or more in seven. Nearly half of the gain (0.032) is "
    "also there where only the last row is left to guess from.",
    "C8.heads": "Eight heads are ahead of one by 0.08 or more on eight of ten splits. Tied heads are, by -0.20 to 0.20: their mean is too uncertain to say "
    "that they are not. Eight heads also solve 0.13 more of training's matrices.",
    "C9.rule": "The difference is above 0.04 in four of ten networks, 0.02 in one, near 0 in three and negative in two. The rule explains 0.01 to 0.10 of the "
    "last layer's codes, in the mean more than the symbol does.",
    "C11.rules": "Codes tell the rule from the other rows, but by more than a third as much that of another feature, whose rule is independent of "
    "theirs and which the answer does not need; this control reaches the region.",
    "C12.features": "Fewer features are right on all ten splits, but by less than 0.05 on two. After 80,000 matrices, networks have hardly begun: of three "
    "features, 0.21 are right, of two 0.28, and where only the last row is left to guess from, 0.20 and 0.25 (post hoc). After 160,000, in the third record, "
    "the difference was -0.149 [-0.186, -0.111].",
    "C13.normalisation": "HYLA without its normalisation is ahead of softmax attention on seven of ten splits, by more than 0.03 on four.",
    "C13.two-steps": "A code that enters twice is ahead of one that enters once on all ten splits, by 0.03 to 0.13. On training's combinations both are equal "
    "in the mean, which is too uncertain for a control.",
    "C14.softmax": "In small decoders after a million tokens, softmax attention's perplexity is lower than HYLA's, by a fifth in the mean; HYLA lies between "
    "it and linear attention.",
}
