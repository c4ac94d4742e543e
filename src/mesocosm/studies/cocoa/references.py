"""Numbers of the paper's figures, read from their vector graphics; they are of learned models unless said, means over 30 seeds (task interleaving: 5)."""

# Probability of the treasure, mean over 10000 iterations, by distance (Fig. 1B left).
DISTANCES = (20, 40, 60, 80, 100)
TREASURE = {
    "cocoa-reward": (0.778, 0.822, 0.733, 0.730, 0.692),
    "cocoa-feature": (0.731, 0.825, 0.742, 0.759, 0.680),
    "q-critic": (0.685, 0.553, 0.386, 0.349, 0.238),
    "advantage": (0.754, 0.628, 0.452, 0.305, 0.246),
    "trajcv": (0.736, 0.607, 0.434, 0.274, 0.195),
    "hca-plus": (0.320, 0.215, 0.146, None, 0.150),
    "reinforce": (0.077, 0.048, 0.032, 0.024, 0.020),
}
NEAR = {estimator: curve[0] for estimator, curve in TREASURE.items() if curve[0] is not None}
FAR = {estimator: curve[-1] for estimator, curve in TREASURE.items() if curve[-1] is not None}


def least_lead(estimator: str, other: str) -> float:
    """The smallest difference of two of these curves at the distances 40, 60 and 80."""
    pairs = zip(TREASURE[estimator][1:-1], TREASURE[other][1:-1], strict=True)
    return min(ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None)


# The same along training at distance 100 (Fig. 3B right).
ITERATIONS = (1000, 2000, 4000, 6000, 8000, 10000)
LEARNING = {
    "cocoa-reward": (0.066, 0.348, 0.838, 0.915, 0.932, 0.938),
    "cocoa-feature": (0.069, 0.377, 0.812, 0.846, 0.922, 0.933),
    "q-critic": (0.011, 0.056, 0.237, 0.374, 0.463, 0.546),
    "advantage": (0.005, 0.023, 0.091, 0.254, 0.511, 0.667),
    "trajcv": (0.013, 0.045, 0.194, 0.302, 0.484, 0.613),
    "reinforce": (0.013, 0.014, 0.013, 0.022, 0.024, 0.028),
}

# The same with exact models (Fig. 3B left).
LEARNING_EXACT = {
    "cocoa-reward": (0.961, 0.998, 0.999, 0.999, 1.0, 1.0),
    "q-critic": (0.964, 0.998, 0.999, 0.999, 0.999, 0.998),
    "advantage": (0.026, 0.132, 0.301, 0.569, 0.741, 0.833),
    "trajcv": (0.050, 0.167, 0.471, 0.639, 0.688, 0.844),
    "hca-plus": (0.034, 0.113, 0.178, 0.202, 0.243, 0.312),
    "hca-return": (0.127, 0.184, 0.280, 0.344, 0.369, 0.435),
}

# Signal-to-noise ratio at distance 100 (Fig. 1B right), in decibels.
FAR_RATIO = {
    "cocoa-reward": 0.4,
    "cocoa-feature": -1.4,
    "q-critic": -17.3,
    "advantage": -37.1,
    "trajcv": -44.2,
    "hca-return": -36.6,
    "hca-plus": -53.5,
    "reinforce": -58.8,
}

# Iterations after the switch of rewards until the treasure has a probability below 0.1 (Fig. 10).
LEFT = {"cocoa-feature": 370, "cocoa-reward": 790, "q-critic": 1150, "advantage": 5300}

# Signal-to-noise ratio at distance 20 (Fig. 1B right), and variance and bias at distance 100 (Fig. 3D), in decibels.
RATIO = {
    "cocoa-reward": 0.0,
    "cocoa-feature": -2.2,
    "q-critic": -7.8,
    "advantage": -30.3,
    "trajcv": -35.2,
    "hca-return": -33.3,
    "hca-plus": -40.6,
    "reinforce": -45.3,
}
VARIANCE = {"cocoa-reward": -8.0, "advantage": 38.0, "trajcv": 44.0, "hca-return": 36.0, "hca-plus": 54.0, "reinforce": 60.0}
BIAS = {"cocoa-reward": -21.0, "q-critic": 17.0, "hca-plus": 2.0}

# Share of questions answered correctly in task interleaving after 4000 iterations (Fig. 4B).
CORRECT = {"cocoa-reward": 0.943, "q-critic": 0.867, "advantage": 0.829, "trajcv": 0.841, "hca-plus": 0.812, "reinforce": 0.810}

# Signal-to-noise ratio with noise on the models (Fig. 12), in decibels.
SIGMAS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
NOISY = {"cocoa-reward": (-0.6, -1.7, -5.3, -12.2, -21.9, -31.5), "q-critic": (22.0, 12.6, 2.1, -7.3, -17.9, -27.4)}
