"""Notes on verdicts of the coala study, and what claims that are not judged would take."""

NOTES = {
    "C6.after": "23 of 64 pairs: 18 end above 0.9, 37 below 0.1, the rest on the way after 1500 steps. In the record before, 32 did. In the trials before our "
    "study, all of eight pairs rose; they had shaped for 800 steps, these for 2000.",
    "C9.cooperate": "They do not: agents leave always defecting and extort naive learners (1.00 beside 0.29), but earn 0.0003 from each other after 2000 "
    "steps. This is one setting (0.4 naive learners, discount 0.95); no other share or length was tried.",
    "C10.shape": "They stay near tit-for-tat, and earn 0.854 beside naive learners, where the policy at which they started earns 0.858. Agents trained among "
    "naive learners only leave it and earn 1.03.",
    "C11.mixed-20": "It repairs 34 of 64 pairs, where 2 cooperate with 20 steps alone; with ten steps, 56, where 27 do without. A rate near a half has no "
    "verdict, whatever the number of pairs.",
    "C14.cooperate": "Three of twelve pools: the agents earn 0.89, 0.92 and 1.00 from each other; two more earn 0.23, the others 0.08 or less after 1600 "
    "iterations. In the two M-FOS pools that count, nobody cooperates with a cooperator: one agent always cooperates, the other always defects, and their "
    "mean is a half.",
    "C14.ahead-of-m-fos": "Three of twelve pools of COALA-PG cooperate; two pools of M-FOS have 0.5, one agent that always cooperates and one that defects.",
    "C14.ahead-of-batch-unaware": "Three of twelve pools of COALA-PG cooperate, no batch-unaware one: 0.70, 0.85 and 0.99 more, the others 0.16 or less.",
    "C14.ahead-of-alone": "Three of twelve mixed pools cooperate, no pool without naive learners: 0.70, 0.85 and 0.99 more, the others 0.16 or less.",
    "C14.four-coala": "Three of ten pools: the agents earn 0.66, 0.75 and 0.99 from each other; one more earns 0.31, the others 0.10 or less after 800 "
    "iterations. In the trials that set the region, with twice the games and 1200 iterations, four of five cooperated.",
    "C14.four-ahead-of-batch-unaware": "Three of ten pools cooperate at last, two of them late: 0.82, 0.38 and 0.34 more in the second half of training.",
    "C14.four-ahead-of-alone": "Three of ten pools cooperate at last, two of them late: 0.82, 0.38 and 0.34 more in the second half of training.",
    "C15.pulled": "Three of ten M-FOS agents earn more than 0.3: 0.92, 0.38 and 0.32, each as much as the COALA agents of its pool; the others 0.04 or less "
    "(one 0.08). None of ten does among other M-FOS agents.",
    "C16.m-fos": "With the first parameters, the ratio is 16 times that of M-FOS, as it must be. Along each method's own training, it is three times: "
    "mean logs are 2.1 for COALA-PG and 0.9 for M-FOS, whose agents soon defect for certain. The norms of both parts contain the noise of 32 sampled games.",
    "C16.batch-unaware": "Along each method's own training, the ratio is four times that of the batch-unaware gradient: mean logs are 2.1 and 0.7.",
    "X4.tit-for-tat": "Five of ten: 0.81 to 0.94 of the last third. Of the others, one cooperates in 0.74 of it, four in every other round, which earns half.",
    "X5.extorts": "The learner earns 0.46 more than the agent that it learns from, of which 0.22 are what always defecting would gain in its place.",
    "X5.yields": "0.29 to 0.38 in seven trainings, 0.54 to 0.57 in three.",
    "X6.cooperate": "None of ten pairs earns more than 0.7 at last; one has 0.67. The others begin at 0.00 to 0.19, rise to 0.22 to 0.98 within 80 to 280 "
    "iterations, and fall back to 0.03 to 0.06. With the follow-up's A2C, too, pairs rise first and some fall. Eleven other settings in pilots (learning rate, "
    "entropy, patience, games) ended the same way. The follow-up has 16 times as many games in each of 13 times as many iterations.",
}

CLEAN_UP = (
    "at the paper's sizes, an agent plays 10^8 steps in each of 3000 iterations (C17: 512 games x 32 trajectories x 100 inner episodes x 64 steps), or 10^7 in "
    "each of 30000 (C18: 512 x 64 x 5 x 64): four days for each agent at a million steps per second, in both. cpu trains three replicates of pools with 10^4 "
    "steps in each of 250 iterations, a hundred-thousandth of all steps, and logs all of the paper's measures. No pilot was made, so no region could be set"
)
THEORY = "a theorem of the follow-up, with nothing to measure"
