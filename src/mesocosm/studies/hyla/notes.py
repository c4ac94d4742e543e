"""Notes on verdicts of the hyla study, and what checks that are not judged would take."""

NOTES = {
    "C3.fewer": "With half of the combinations held out, ten networks take four minutes of one core, which `cpu` does not have. In the fourth record: 0.027 "
    "[0.003, 0.050].",
    "C3.more": "As C3.fewer. In the fourth record: 0.117 [0.066, 0.168].",
    "C3.least": "HYLA falls less on nine of ten splits, but by more than 0.08 on six only. Four pilots, from which the region comes, had differences "
    "of 0.08 to 0.18.",
    "C3.longer": "Twice as long, ten networks take some six minutes of one core more than `cpu` has. In the second record: 0.218 [0.184, 0.251].",
    "C4.train": "HYLA fits training's combinations worse at this size, after a twentieth of the paper's steps: on all ten splits, by 0.03 to 0.18, "
    "and in all pilots.",
    "C6.hyla": "Six of ten networks are above 0.04, two at it or below (0.040 and 0.032); in the other two, probes of the code tell nothing. The mean is "
    "0.057 [0.027, 0.088].",
    "C7.hyla": "At `cpu`, softmax attention is ahead on all ten splits (0.36 to 0.15 in the mean), and both still rise. Ten pairs of runs of 10 "
    "million matrices decide, in five days.",
    "C7.matrices-hyla": "HYLA on Raven matrices takes a quarter of an hour of one core, which `cpu` does not have, and leaves open who is ahead. In the fourth "
    "record, HYLA gained more than 0.05 with four times as many matrices.",
    "C7.width-hyla": "Half as wide, ten networks take some seven minutes of one core, which `cpu` does not have.",
    "C7.width-softmax": "Half as wide, ten networks take some five minutes of one core, which `cpu` does not have. In the second record, half the width cost "
    "0.129 [0.006, 0.252].",
    "C8.heads": "Several heads solve more on nine of ten splits, but by more than 0.05 on five only. They also fit training's matrices better, by "
    "0.10, so this is no evidence about composition. Networks saw a thirtieth of the paper's fewest matrices.",
    "C9.rule": "In six of ten networks, the difference is above 0.03; in two it is 0.01 and 0.02, in two negative. One of these two does not follow "
    "the rule in the last layer at all; that with 0.01 follows it in the middle layer.",
    "C10.sums": "It is about networks that have learned both rules; those of `cpu` solve 42 % of training's matrices in the mean. Ten runs of 10 "
    "million decide.",
    "C11.later": "The last layer tells the rule better in all ten networks. The control is too near: the last layer also tells another feature's rule "
    "better, by 0.03 in the mean, and by 0.08 and 0.10 in two networks. The difference minus its control, paired, is 0.132 [0.071, "
    "0.193].",
    "C12.features": "Fewer features are right on all ten splits, but by less than 0.05 on four. Of three features, 0.20 are right, of two 0.27, by "
    "guessing 0.125: after 80,000 matrices, networks have hardly begun. After 160,000, in the third record, it was -0.149 [-0.187, "
    "-0.112].",
    "C13.raven-nonlinearity": "It is about networks that have learned the rules; HYLA at `cpu` solves a fifth of training's matrices.",
    "C13.raven-normalisation": "It is about networks that have learned the rules; HYLA at `cpu` solves a fifth of training's matrices.",
    "C14.softmax": "In small decoders after a million tokens, softmax attention's perplexity is lower on all ten splits, by a fifth in the mean (16.4 to "
    "20.4); HYLA lies between it and linear attention (27.9).",
}
