"""Notes on verdicts of the study of composition in context."""

_EARLY = (
    "To be expected so early in training: in the paper the vanilla model is ahead, too, by 0.04 after 5000 steps, which are eight times as large; after "
    "100,000 the hypernetwork transformer is ahead by 0.117."
)

NOTES = {
    "C3.better": f"{_EARLY} Here it is behind with nine of ten teachers.",
    "C3.gap": "To be expected so early in training: the paper's model has a gap of 0.11 after 5000 steps, of 0.03 after 20,000 and of 0.013 in the end.",
    "C3.decay": f"{_EARLY} Here it is behind with all ten teachers.",
    "C3.both-decay": f"{_EARLY} With the same coefficient of weight decay, the two are equal here, to within 0.04 with each teacher.",
    "C5.support": "Teachers differ: from -0.12 to 0.18, a standard deviation of 0.08. Ten of them hardly tell a difference of 0.05 from 0.",
    "C5.same-pairs": "Teachers differ: from -0.09 to 0.13, a standard deviation of 0.07. Ten of them hardly tell a difference of 0.05 from 0.",
    "C5.given-code": "The support matters with all ten teachers, by 0.045 to 0.14, and by more than 0.05 with eight: whether it does so in the mean is not "
    "decided by ten of them. It was in both records before. The difference grows with training: in pilots, from 0.03 and -0.01 after 1000 steps to 0.08 and "
    "0.05 after 20,000; here there are 10,000.",
    "C5.given-code-same-pairs": "As in C5.given-code: by 0.048 to 0.16, and by more than 0.05 with nine teachers.",
    "C11.modules": "Units are nearly halfway between those of other teachers (0.24) and the teacher's own (1), with each of ten teachers (0.52 to 0.61). "
    "Without inference, in a hypernetwork that is given the code, they come to 0.82 (0.76 to 0.93).",
    "H1.better": "HYLA is behind with all ten teachers, by 0.05 to 0.12, after 2500 steps, and fits training's pairs less (0.83, softmax attention 0.95). In "
    "the record before it was behind by 0.05 after 5000 steps.",
    "H3.equal-fit": "In the paper's curves the vanilla model is ahead up to an R² of 0.975 on training's pairs, by 0.04 at 0.96. The hypernetwork transformer "
    "has seen fewer than half of the tasks there, and its shorter trainings have the learning rate and the 200 steps of warm-up of 5000.",
}
