"""Notes on verdicts of the hyla study, and what checks that are not judged would take."""

NOTES = {
    "C3.least": "HYLA falls less, but not clearly by more than 0.08. Four pilots, from which the region comes, had differences of 0.08 to 0.18.",
    "C3.longer": "Twice as long, ten networks take some six minutes of one core more than `cpu` has. In the second record: 0.218 [0.184, 0.251].",
    "C4.train": "HYLA fits training's combinations worse at this size, after a twentieth of the paper's steps; in all pilots too.",
    "C6.hyla": "Eight of ten networks in the third record; in the other two, the code hardly depends on the function.",
    "C7.hyla": "At `cpu`, softmax attention is ahead (in the third record 0.37 to 0.15), and both still rise. "
    "Ten pairs of runs of 10 million matrices decide, in five days.",
    "C7.width-hyla": "Half as wide, ten networks take some seven minutes of one core, which `cpu` does not have.",
    "C7.width-softmax": "Half as wide, ten networks take some five minutes of one core, which `cpu` does not have. In the second record, half the width "
    "cost 0.129 [0.006, 0.252].",
    "C8.heads": "Several heads solve more in the mean, but on three of ten splits of the third record hardly more, or less. Networks saw a thirtieth of the "
    "paper's fewest matrices.",
    "C9.rule": "In the third record, eight of ten networks had a difference above 0.02, and two none or a negative one.",
    "C10.sums": "It is about networks that have learned both rules; those of `cpu` solve less than half of training's matrices. Ten runs of 10 million decide.",
    "C13.raven-nonlinearity": "It is about networks that have learned the rules; those of `cpu` solve less than half of training's matrices.",
    "C13.raven-normalisation": "It is about networks that have learned the rules; those of `cpu` solve less than half of training's matrices.",
    "C14.softmax": "In small decoders after a million tokens, softmax attention's perplexity is lower by a fifth; HYLA lies between it and linear attention.",
}
