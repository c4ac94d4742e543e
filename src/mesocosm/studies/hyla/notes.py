"""Notes on verdicts of the hyla study, and what checks that are not judged would take."""

NOTES = {
    "C3.hyla": "Better in the mean, as in the first record, but not on three of ten splits, so that the interval reaches down to 0.",
    "C3.least": "HYLA falls less, but not clearly by more than 0.08. Four pilots, from which the region comes, had differences of 0.08 to 0.18.",
    "C3.longer": "Twice as long, ten networks take some five minutes more than `cpu` has.",
    "C4.train": "HYLA fits training's combinations worse at this size, after a twentieth of the paper's steps; in all pilots too.",
    "C7.hyla": "At `cpu`, softmax attention is ahead, 0.38 to 0.17, and both still rise. Ten pairs of runs of 10 million matrices decide, in five days.",
    "C7.width-hyla": "Half as wide, ten networks of HYLA take some four minutes more than `cpu` has.",
    "C7.width-softmax": "Half as wide, ten networks take some five minutes more than `cpu` has.",
    "C8.heads": "Several heads solve more in the mean, but on two of ten splits less. Networks saw a thirtieth of the paper's fewest matrices.",
    "C10.sums": "It is about networks that have learned both rules; those of `cpu` solve less than half of training's matrices. Ten runs of 10 million decide.",
    "C13.normalisation": "On nine of ten splits it is better, by 0.06 to 0.17; on the other, the network hardly learned training's combinations either. A rate "
    "over splits would have suited two such places better than a mean.",
    "C13.raven-nonlinearity": "It is about networks that have learned the rules; those of `cpu` solve less than half of training's matrices.",
    "C13.raven-normalisation": "It is about networks that have learned the rules; those of `cpu` solve less than half of training's matrices.",
    "C14.softmax": "In small decoders after a million tokens, softmax attention's perplexity is lower by a fifth; HYLA lies between it and linear attention.",
}
