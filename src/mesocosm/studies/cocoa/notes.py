"""Notes on verdicts of the cocoa study about learned models: why a row does not hold."""

SMALL_ROOMS = "Here there are three contexts for the paper's five, and 2000 iterations for 10000; in earlier records leads were smaller than the paper's, too."
CRITICS = "The paper's difference is no larger than the spread of ten trainings was in an earlier record."
LEAVES = (
    "On this short track every estimator first has to leave a policy that is nearly certain, which took 180 to 720 iterations in pilots; what the estimators "
    "add is small beside that."
)

NOTES: dict[str, str] = {
    "C18.q-critic": SMALL_ROOMS,
    "C18.advantage": SMALL_ROOMS,
    "C18.trajcv": SMALL_ROOMS,
    "C20.feature": LEAVES,
    "C20.q-critic": LEAVES,
    "C20.advantage": LEAVES,
    "C24.late": CRITICS,
}
