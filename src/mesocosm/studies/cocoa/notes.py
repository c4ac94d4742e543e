"""Notes on verdicts of the cocoa study about learned models: why a row may not hold. What this record found stands on the page."""

SMALL_ROOMS = "Here there are three contexts for the paper's five, and 2000 iterations for 10000; in earlier records leads were smaller than the paper's, too."
CRITICS = "The paper's difference is no larger than the spread of ten trainings was in an earlier record."
LEAVES = (
    "On this short track every estimator first has to leave a policy that is nearly certain, which took 180 to 720 iterations in pilots; what the estimators "
    "add is small beside that."
)
BINS = (
    "Averages over bins of the treasure's probability weigh the time in which it is rare as much as the rest; in an earlier record, one training in ten had a "
    "biased network or other features then."
)

NOTES: dict[str, str] = {
    "C13.hca-plus": "In an earlier record HCA+ ended below 0.05 in four of ten trainings, and above 0.35 in four; the average has two places.",
    "C14.cocoa-reward-q-critic": BINS,
    "C14.cocoa-feature-q-critic": BINS,
    "C14.hca-return-hca-plus": "In an earlier record HCA-return was between 7 dB behind and 10 dB ahead: its bias was far larger than the gradient.",
    "C15.bias-hca-plus": "In the paper HCA+ has a bias of 2 dB at distance 100; in an earlier record, at distance 20, -27 dB.",
    "C16.trajcv": "In an earlier record TrajCV ended at distance 100 below 0.3 in four of ten trainings, and above 0.8 in three.",
    "C18.q-critic": SMALL_ROOMS,
    "C18.advantage": SMALL_ROOMS,
    "C18.trajcv": SMALL_ROOMS,
    "C20.feature": LEAVES,
    "C20.q-critic": LEAVES,
    "C20.advantage": LEAVES,
    "C24.early": CRITICS,
    "C24.late": CRITICS,
    "C25.hca-return": "In an earlier record HCA+ found the treasure in one of ten trainings and HCA-return in none; the paper's means are 0.31 and 0.44.",
    "C26.hca-plus": "In the paper HCA+ has a bias of 2 dB at distance 100; in an earlier record, at distance 20, -27 dB.",
}
