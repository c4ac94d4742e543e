"""What the record shows beside its verdicts, by check."""

ONE_FIXED_SEED = "With one fixed seed, training fails at an infinite exponent alone (C21), so the control shows what a seed does there."

NOTES = {
    "C7.weak": "A weak adversary is enough here: the variance is 0.043 at q = 4 and largest, 0.054, at q = 8. In the paper it is about 0 up to q = 8, for 20 "
    "words of 5 bits.",
    "C12.fixed": "The adversary lowers the tail loss of fixed-seed networks a little, from 0.797 to 0.696, which is nearly that of a guess, ln 2. In the paper "
    "it grows.",
    "C14.vote": "Five of twelve networks; five more colour 0.89 to 0.90. A second record on other seeds had 0.83 on average, too. The paper's votes, in cycles "
    "of ten vertices, colour nearly all.",
    "C17.average": ONE_FIXED_SEED,
    "C17.larger-average": ONE_FIXED_SEED,
    "C18.worst": "With one seed, two thirds of the agents miss some treasure (9 steps), so that the values lie at two places.",
    "C18.many": "More than two seeds do not help in a grid this small: 7.03 steps with one, 4.82 with two, 5.06 with four, 5.15 with eight, 5.23 with 16.",
    "C20.shortest": "Eight of ten agents return straight in 0.88 to 0.96 of the cases, two in 0.99 and 1. The records before had 0.94 and 0.88.",
    "C21.fixed": "It fails at an infinite exponent, where all members of a population that miss a treasure are equal. At an exponent of 16, agents do as well "
    "as those trained on the mean.",
}
