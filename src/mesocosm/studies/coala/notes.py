"""Notes on verdicts of the coala study, and what claims that are not judged would take."""

NOTES = {
    "C13.m-fos": "One of twenty M-FOS agents ended at always cooperating (it earns -0.52 and its learners 1.76); the other 19 defect from the start.",
    "C14.cooperate": "Four of ten pools: the agents earn 0.61 to 0.98 from each other; in the other six they still extort naive learners (0.66 to 0.84) and "
    "earn 0.19 or less from each other after 1600 iterations. In the trials that set the region, with twice the games, seven of nine pools cooperated; in our "
    "pilots of the same size, four of nine.",
    "C14.m-fos": "None of ten pools cooperates; but too few pools of COALA-PG do for a control.",
    "C14.batch-unaware": "None of ten pools cooperates; but too few pools of COALA-PG do for a control.",
    "C14.alone": "None of ten pools cooperates; but too few pools of COALA-PG do for a control.",
    "C16.m-fos": "With the first parameters, the ratio is 16 times that of M-FOS, as it must be. Along each method's own training, it is three times: "
    "mean logs are 2.0 for COALA-PG and 0.9 for M-FOS, whose agents soon defect for certain. The norms of both parts contain the noise of 32 sampled games.",
    "C16.batch-unaware": "Along each method's own training, the ratio is four times that of the batch-unaware gradient: mean logs are 2.0 and 0.6.",
}

CLEAN_UP = (
    "at the paper's size, 10^8 environment steps per iteration (512 games x 32 trajectories x 100 inner episodes x 64 steps) and 3000 iterations: four days "
    "per agent at a million steps per second; cpu trains five replicates of pools of a ten-thousandth of that size with all of the paper's measures, "
    "for which no region could be set honestly"
)
THEORY = "a theorem of the follow-up, with nothing to measure"
