"""Notes on verdicts of the hyla study. What checks that are not judged would take is on the study's page."""

NOTES = {
    "C3.least": "In the fourth record, HYLA falls less on nine of ten splits, but by more than 0.08 on six only. The mean of all records lies at the region's "
    "edge, so ten replicates cannot decide this. Four pilots, from which the region comes, had differences of 0.08 to 0.18.",
    "C4.train": "HYLA fits training's combinations worse at this size, after a twentieth of the paper's steps: in the fourth record on all ten splits, by 0.03 "
    "to 0.18, and in all pilots.",
    "C6.hyla": "In the fourth record, six of ten networks are above 0.04, two at it or below (0.040 and 0.032); in the other two, probes of the code tell "
    "nothing.",
    "C9.rule": "In the fourth record, the difference is above 0.03 in six of ten networks; in two it is 0.01 and 0.02, in two negative. One of these two does "
    "not follow the rule in the last layer at all; that with 0.01 follows it in the middle layer.",
    "C12.features": "In the fourth record, fewer features are right on all ten splits, but by less than 0.05 on four. Of three features, 0.20 are right, of "
    "two 0.27, by guessing 0.125: after 80,000 matrices, networks have hardly begun. Ten replicates have a chance of about 0.25 to show it. After 160,000, in "
    "the third record, it was -0.149 [-0.187, -0.112].",
    "C14.softmax": "In small decoders after a million tokens, softmax attention's perplexity is lower: in the fourth record on all ten splits, by a fifth in "
    "the mean (16.4 to 20.4); HYLA lies between it and linear attention (27.9).",
}
