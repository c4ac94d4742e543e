"""Config and presets of the coala study. Numbers from the paper are marked; the rest is ours."""

from dataclasses import dataclass, field, replace

from mesocosm.studies.interface import Preset


@dataclass(frozen=True)
class Estimators:
    """Games whose every outcome is followed."""

    instances: int = 100
    """Random agents and learners."""
    batch: int = 2
    """B, games against one learner."""
    episodes: int = 3
    """M, inner episodes."""
    steps: int = 1
    """T, steps of each; there are 4^(B M T) outcomes."""
    rate: float = 5.0
    """The learner's step size."""
    learners: int = 256
    """Naive learners per instance of the statement about always defecting."""


@dataclass(frozen=True)
class Pairs:
    """Two memory-one agents with exact gradients, among naive learners and each other."""

    discount: float = 0.999
    """Paper: 0.999, stated with Fig. 8."""
    rate: float = 5.0
    """The naive learners' step size on normalised returns (paper: 5, in Fig. 4)."""
    updates: int = 20
    """Updates of a naive learner (paper: 20, in Fig. 10C)."""
    learners: int = 4
    """Naive learners per step and agent."""
    learning_rate: float = 0.01
    """Of AdamW."""
    steps: int = 2000
    meeting_steps: int = 1500
    """Steps that the agents take thereafter on each other only."""
    p_naive: float = 0.5
    """Share of naive learners in the mixed pool."""
    test_learners: int = 64
    """Naive learners that an agent is tested on, the same for all agents."""
    every: int = 50
    """Steps between two measurements."""
    mixed: bool = True
    """Whether mixed pools are trained."""
    escape_discount: float = 0.95
    """The discount of pools that start at always defecting. At 0.999 the first move hardly counts, and Adam makes its gradient's noise a drift."""
    escape_p_naive: float = 0.4
    edge: float = 0.01
    """Distance of their first probabilities, and those of tit-for-tat, from 0 and 1 (paper: 0.01)."""


@dataclass(frozen=True)
class LookAhead:
    """LOLA-DICE with exact gradients."""

    discount: float = 0.95
    """Paper: 0.95."""
    learning_rate: float = 0.005
    """Paper: 0.005."""
    steps: int = 3000
    ahead: tuple[int, ...] = (1, 2, 3, 10, 20)
    """Numbers of look-ahead steps (paper: these)."""
    rate: float = 5.0
    """Their step size; twice that for a single one (paper: both)."""
    mixes: tuple[tuple[int, float], ...] = ((3, 0.75), (10, 0.6), (20, 0.4))
    """Pairs whose look-ahead is mixed with the plain gradient, and its weight (paper: these)."""
    every: int = 50


@dataclass(frozen=True)
class AgentPools:
    """Agents with memory that learn from sampled play (sizes of the paper in `paper`)."""

    iterations: int = 0
    """Of mixed pools; 0: none is trained."""
    iterations_of_four: int = 0
    """Of pools of four agents; 0: none is trained."""
    shaping_iterations: int = 900
    """Of pools of naive learners only. In pilots, agents came to shape first and exploit later after some 600."""
    agents: int = 2
    p_naive: float = 0.25
    """Weight of naive learners in mixed pools (paper: 0.75)."""
    naive: int = 4
    peers: int = 4
    """Games of each agent per iteration against naive learners and against another agent (paper: 128 in all); in pools without naive learners, all of them
    are against the latter."""
    shaping_games: int = 8
    """Games of each agent per iteration in pools of naive learners only."""
    batch: int = 16
    """B, trajectories of a game (paper: 16)."""
    episodes: int = 10
    """M (paper: 20)."""
    length: int = 6
    """T (paper: 10)."""
    rate: float = 5.0
    """Step size of the naive learners."""
    learning_rate: float = 0.01
    reward_scale: float = 0.05
    """Factor of rewards in what is learned (paper: 0.05)."""
    entropy: float = 0.0
    """Weight of the entropy (paper: 0)."""
    entropy_beside: float = 0.005
    """The same in pools of four with an M-FOS agent among COALA agents."""
    width: int = 16
    hidden: int = 24
    probe_games: int = 32
    """Games of each agent against naive learners in which the parts of the gradient are measured (paper: 2048), and in which it is tested."""
    every: int = 60
    """Iterations between two such measurements."""


@dataclass(frozen=True)
class InContext:
    """Agents with memory in single long episodes, among memory-one policies drawn anew and each other; numbers marked "follow-up" are arXiv 2602.16301's."""

    iterations: int = 0
    """Among memory-one policies only (follow-up: 50000); 0: none is trained."""
    extorting: int = 1000
    """Beside the agent that results (follow-up: 100000)."""
    meeting: int = 750
    """Of two that extort it (follow-up: 10000)."""
    mixed: int = 0
    """Of mixed pools (follow-up: 200000); 0: none is trained."""
    settling: float = 0.0
    """Further iterations among memory-one policies, only and in mixed pools, as a share of these; entropy and learning rate fall along them."""
    p_tabular: float = 0.5
    """Share of memory-one policies in mixed pools (follow-up: 0.5)."""
    games: int = 256
    """Games of each agent per iteration among memory-one policies and in mixed pools (follow-up: 2048 and 4096)."""
    extorting_games: int = 128
    """The same of an agent and the one that it extorts (follow-up: 2048)."""
    meeting_games: int = 256
    """The same of two that extort (follow-up: 4096)."""
    length: int = 80
    """Rounds (follow-up: 100). What tit-for-tat gives in return takes some 20 to find out."""
    learning_rate: float = 0.005
    meeting_rate: float = 0.0005
    """The same of two that extort (follow-up: 0.0005)."""
    discount: float = 0.95
    """Follow-up: 0.99. The noise of later rounds is left out."""
    decay: float = 0.95
    """$\\lambda$ of GAE and of values (follow-up: 0.95 to 1)."""
    reward_scale: float = 0.05
    entropy: float = 0.3
    """Weight of the entropy, in units of the reward (follow-up: 0.005 to 0.5)."""
    last_entropy: float = 0.1
    """The same after settling."""
    last_rate: float = 0.2
    """Share of the learning rate that is left after settling."""
    width: int = 16
    """Of a GRU (follow-up: 128). It must tell which action followed which pair of actions; a linear recurrence whose gates see the last pair alone cannot."""
    test_games: int = 256
    """Games in which agents are tested."""


@dataclass(frozen=True)
class CleanUpPools:
    """Agents with memory in CleanUp-lite; the paper's two sizes are those of pools of naive learners only, and of mixed pools."""

    iterations: int = 0
    """0: none is trained (paper: 3000 and 30000)."""
    p_naive: float = 0.75
    """Weight of naive learners in mixed pools (paper: 0.75)."""
    naive: int = 4
    peers: int = 4
    """Games of each agent per iteration against naive learners and against another agent (paper: 512 in all)."""
    batch: int = 8
    """B (paper: 32 and 64)."""
    episodes: int = 5
    """M (paper: 100 and 5)."""
    length: int = 32
    """T (paper: 64)."""
    learning_rate: float = 0.005
    naive_learning_rate: float = 0.005
    """Of the naive learners' Adam (paper: 0.005, and SGD with 1)."""
    naive_discount: float = 0.99
    """Paper: 0.99 and 1."""
    reward_scale: float = 0.1
    """Paper: 0.1 for COALA-PG."""
    entropy: float = 0.0
    """Paper: 0."""
    width: int = 16
    test_games: int = 32
    """Games of each kind in which agents are tested."""


@dataclass(frozen=True)
class Config:
    """Config of the coala study."""

    estimators: Estimators = field(default_factory=Estimators)
    pairs: Pairs = field(default_factory=Pairs)
    look_ahead: LookAhead = field(default_factory=LookAhead)
    agents: AgentPools = field(default_factory=AgentPools)
    in_context: InContext = field(default_factory=InContext)
    agent_replicates: int = 10
    """Replicates of pools of agents with memory, but for those of two (C14, C16) and of naive learners only."""
    pair_replicates: int = 12
    """Replicates of mixed pools of two and of two without naive learners: about half of the mixed ones cooperate, and others do for a while."""
    shaping_replicates: int = 16
    """Replicates of pools of naive learners only: a rate that one of them misses has an interval below a half."""
    clean_up: CleanUpPools = field(default_factory=CleanUpPools)
    clean_up_replicates: int = 3
    """Replicates in CleanUp-lite, where nothing is judged."""
    landscape: int = 0
    """Points per side of the plane of policies whose exact returns are drawn; 0: none."""
    estimator: str = ""
    """Your own estimator, package.module:function, called as ours in `learning.opponent_shaping`. Trains only pools of agents with it and with ours."""


PRESETS = {
    "smoke": Preset(
        Config(
            estimators=Estimators(episodes=2, learners=4),
            pairs=Pairs(updates=2, learners=1, steps=4, meeting_steps=2, test_learners=3, every=2),
            look_ahead=LookAhead(steps=2, ahead=(1, 2, 10, 20), mixes=((10, 0.6), (20, 0.4)), every=2),
            agents=AgentPools(
                iterations=2,
                shaping_iterations=1,
                naive=1,
                peers=1,
                shaping_games=2,
                batch=2,
                episodes=2,
                length=2,
                width=2,
                hidden=2,
                probe_games=8,
                every=2,
            ),
            in_context=InContext(
                iterations=2, extorting=2, meeting=2, mixed=2, settling=2.0, games=2, extorting_games=2, meeting_games=2, length=12, width=2, test_games=2
            ),
            clean_up=CleanUpPools(iterations=2, naive=1, peers=1, batch=2, episodes=2, length=4, width=2, test_games=2),
            agent_replicates=2,
            pair_replicates=2,
            shaping_replicates=2,
            clean_up_replicates=2,
            landscape=3,
        ),
        seeds=2,
    ),
    "quick": Preset(
        replace(
            Config(),
            pairs=Pairs(steps=800, meeting_steps=1500, mixed=False),
            look_ahead=LookAhead(steps=2000, ahead=(1, 20), mixes=()),
            landscape=21,
        ),
        seeds=20,
        minutes={"estimators": 0.43, "landscape": 0.04, "look-ahead": 0.26, "pools": 1.24},  # on one core that other programs used too; pools from three arms
    ),
    "cpu": Preset(
        replace(
            Config(),
            agents=AgentPools(iterations=1600, iterations_of_four=800),
            in_context=InContext(iterations=3000, settling=2 / 3),
            clean_up=CleanUpPools(iterations=250),
            landscape=21,
        ),
        seeds=64,
        minutes={
            "agents-alone": 5.2,
            "agents-four-alone": 5.0,
            "agents-four-batch-unaware": 4.5,
            "agents-four-coala": 5.3,
            "agents-four-not-pulled": 5.1,
            "agents-four-pulled": 5.1,
            "agents-mixed-batch-unaware": 6.2,
            "agents-mixed-coala": 5.2,
            "agents-mixed-m-fos": 5.5,
            "agents-shaping-batch-unaware": 4.9,
            "agents-shaping-coala": 5.1,
            "agents-shaping-m-fos": 5.1,
            "clean-up-mixed-batch-unaware": 1.6,
            "clean-up-mixed-coala": 2.2,
            "clean-up-mixed-m-fos": 1.5,
            "clean-up-shaping-batch-unaware": 1.1,
            "clean-up-shaping-coala": 1.4,
            "clean-up-shaping-m-fos": 1.1,
            "estimators": 0.42,
            "in-context": 25.3,
            "in-context-new-pairs": 6.3,
            "in-context-no-memory": 2.5,
            "landscape": 0.03,
            "look-ahead": 1.2,
            "pools": 7.2,
        },  # of the record of seeds 400 to 463, two trials at a time; in proportion to their replicates, and without memory from a pilot
    ),
    "paper": Preset(
        replace(
            Config(),
            agents=AgentPools(
                iterations=3000,
                iterations_of_four=3000,
                shaping_iterations=3000,
                p_naive=0.75,
                naive=96,
                peers=32,
                shaping_games=128,
                episodes=20,
                length=10,
                learning_rate=3e-4,
                width=32,
                hidden=32,
                probe_games=2048,
            ),
            in_context=InContext(
                iterations=50000,
                extorting=100000,
                meeting=10000,
                mixed=200000,
                settling=0.5,
                games=2048,
                extorting_games=2048,
                meeting_games=4096,
                length=100,
                learning_rate=0.001,
                discount=0.99,
                decay=0.99,
                reward_scale=0.02,
                entropy=0.5,
                width=128,
            ),
            clean_up=CleanUpPools(iterations=30000, naive=384, peers=128, batch=64, length=64, naive_discount=1.0, width=32),
            landscape=21,
        ),
        seeds=64,
    ),
}
