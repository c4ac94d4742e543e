"""How networks change: Learner, fit and the random streams that pair the arms of an experiment."""
