"""Notes on verdicts of the coala study, and what claims that are not judged would take."""

NOTES = {
    "C6.after": "32 of 64 pairs: 17 end above 0.9, 28 below 0.1, the rest on the way after 1500 steps. In the trials before our study, all of eight pairs "
    "rose; they had shaped for 800 steps, these for 2000. A rate near a half has no verdict, whatever the number of pairs.",
    "C9.cooperate": "They do not: agents leave always defecting and extort naive learners (1.00 beside 0.29), but earn 0.0003 from each other after 2000 "
    "steps. This is one setting (0.4 naive learners, discount 0.95); no other share or length was tried.",
    "C10.shape": "They stay near tit-for-tat, with probabilities within 0.013 of it, and earn 0.854 beside naive learners, where the policy at which they "
    "started earns 0.858. Agents trained among naive learners only leave it and earn 1.03.",
    "C11.mixed-20": "It repairs 25 of 64 pairs (0.59 to 0.99), where 3 cooperate with 20 steps alone; with ten steps, 51 cooperate, where 25 do without. "
    "A rate near a half has no verdict, whatever the number of pairs.",
    "C13.m-fos": "Three of 16 pools have agents that ended at always cooperating, or near it (they earn -0.52, -0.43 and 0.05; their learners 1.76, 1.65 and "
    "0.83); all others defect from the start.",
    "C14.cooperate": "Four of ten pools: the agents earn 0.72 to 1.00 from each other. Two more earn 0.4, the other four 0.05 or less after 1600 iterations; "
    "all extort or exploit naive learners. In the trials that set the region, with twice the games, seven of nine pools cooperated; in our pilots of the same "
    "size, four of nine.",
    "C14.four-coala": "Three of ten pools: the agents earn 0.91 to 0.98 from each other; two more earn 0.34, the others 0.11 or less after 800 iterations. In "
    "the trials that set the region, with twice the games and 1200 iterations, four of five cooperated.",
    "C15.pulled": "Two of ten M-FOS agents earn more than 0.3, 0.56 and 0.62, both among COALA agents that earn about a half from each other (0.54 and 0.44); "
    "four more earn 0.06 to 0.18, among COALA agents that earn 0.24 to 0.32. None of ten does among other M-FOS agents.",
    "C16.m-fos": "With the first parameters, the ratio is 16 times that of M-FOS, as it must be. Along each method's own training, it is four times: "
    "mean logs are 2.0 for COALA-PG and 0.7 for M-FOS, whose agents soon defect for certain. The norms of both parts contain the noise of 32 sampled games.",
    "C16.batch-unaware": "Along each method's own training, the ratio is four times that of the batch-unaware gradient: mean logs are 2.0 and 0.5.",
    "X5.yields": "0.30 to 0.62, around the region's edge. The fixed agent cooperates in four of ten rounds and earns 0.06 on average (-0.12 to 0.35), the "
    "learner 0.59 (0.45 to 0.76).",
    "X6.cooperate": "None of ten pairs at last: they earn 0.03 at first, rise to 0.12 to 0.82 within 90 to 270 iterations (two of ten to more than a half), "
    "and fall back to 0.05. With the follow-up's A2C, too, pairs rise first and some fall. Eleven other settings in pilots (learning rate, entropy, patience, "
    "games) ended the same way. The follow-up has 16 times as many games in each of 13 times as many iterations.",
}

CLEAN_UP = (
    "at the paper's sizes, an agent plays 10^8 steps in each of 3000 iterations (C17: 512 games x 32 trajectories x 100 inner episodes x 64 steps), or 10^7 in "
    "each of 30000 (C18: 512 x 64 x 5 x 64): four days for each agent at a million steps per second, in both. cpu trains three replicates of pools with 10^4 "
    "steps in each of 250 iterations, a hundred-thousandth of all steps, and logs all of the paper's measures. No pilot was made, so no region could be set"
)
THEORY = "a theorem of the follow-up, with nothing to measure"
