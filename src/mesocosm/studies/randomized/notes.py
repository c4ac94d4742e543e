"""What the record shows beside its verdicts, by check."""

NOTES = {
    "C17.average": "With one fixed seed, training fails at an infinite exponent alone (C21), so the control shows what a seed does there.",
    "C17.larger-average": "With one fixed seed, training fails at an infinite exponent alone (C21), so the control shows what a seed does there.",
    "C21.fixed": (
        "It fails at an infinite exponent, where all members of the population that miss a treasure are equal. At an exponent of 16, agents do as well as "
        "those trained on the mean."
    ),
}
