"""Notes on verdicts of the study of composition in context."""

_PAPER = (
    "in the paper the vanilla model is ahead by 0.04 after 5000 steps, which are eight times as large; after 100,000 the hypernetwork transformer is, by 0.117."
)

NOTES = {
    "C3.better": f"To be expected so early in training: {_PAPER} Here it is behind with nine of ten teachers.",
    "C3.gap": "To be expected so early in training: the paper's model has a gap of 0.11 after 5000 steps, of 0.03 after 20,000 and of 0.013 in the end. At "
    "this record's fit (0.992) it has about 0.05, so that the model composes worse here than the paper's at equal fit.",
    "C3.decay": f"To be expected so early in training: {_PAPER} Here, after 2500 steps, it is behind with all ten teachers, by 0.02 to 0.12; in the record "
    "before, after 5000, by 0.03 in the mean.",
    "C3.both-decay": f"The paper does not compare these. With no weight decay for the hypernetwork transformer, {_PAPER} Here neither is clearly ahead: with "
    "each teacher, they differ by less than 0.04.",
    "C5.support": "Teachers differ: from -0.12 to 0.18, a standard deviation of 0.08. Ten of them hardly tell a difference of 0.05 from 0. With the ten of the "
    "record before it is 0.006 (-0.029 to 0.040), post hoc.",
    "C5.same-pairs": "Teachers differ: from -0.09 to 0.13, a standard deviation of 0.07. Ten of them hardly tell a difference of 0.05 from 0. With the ten of "
    "the record before it is 0.011 (-0.019 to 0.041), post hoc.",
    "C5.given-code": "It is above 0 with all ten teachers, from 0.045 to 0.14, and above 0.05 with eight; ten do not decide whether the mean is. In both "
    "records before it was, with the same region and steps, but against the mean of the 16 scored outputs, which makes differences 9 % larger than the mean of "
    "the context does: 0.073 (0.051 to 0.095) here. One teacher's 0.14 widens the interval.",
    "C5.given-code-same-pairs": "As in C5.given-code: above 0 with all ten teachers, from 0.048 to 0.16, and above 0.05 with nine. It is the first record of "
    "this check.",
    "C11.modules": "Units are two fifths of the way from those of other teachers (0.24) to the teacher's own (1), at 0.52 to 0.61 with each of ten teachers. "
    "The region is ours: a hypernetwork that is given the code composes on Connected+ with 0.82 (0.76 to 0.93); on fewer pairs it has 0.61 and 0.54.",
    "H1.better": "HYLA is behind with all ten teachers, by 0.05 to 0.12, after 2500 steps, and fits training's pairs less (0.83, softmax attention 0.95). In "
    "the record before it was behind by 0.05 after 5000 steps. At this length there is no gap to the hypernetwork transformer that it could close.",
    "H3.equal-fit": "In the paper's curves the vanilla model is ahead up to an R² of 0.975 on training's pairs, by 0.04 at 0.96; here it is ahead by three "
    "times as much. The hypernetwork transformer has seen fewer than half of the tasks there, and its shorter trainings have the learning rate and the 200 "
    "steps of warm-up of 5000.",
}
