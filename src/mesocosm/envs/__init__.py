"""Environments, their exact tabular forms, and adapters for agents of other libraries."""

from mesocosm.envs.clean_up import CleanUp, CleanUpState
from mesocosm.envs.environment import Box, Discrete, Environment, Episode, choose
from mesocosm.envs.goal_maze import GoalMaze, GoalParams, GoalState, Maze
from mesocosm.envs.interleaving import Interleaving, InterleavingParams, InterleavingState
from mesocosm.envs.iterated_game import IteratedGame, IteratedState
from mesocosm.envs.key_to_door import KeyToDoor, KeyToDoorParams, KeyToDoorState, RewardScale, code_scale, paper_scale
from mesocosm.envs.matrix_game import CHICKEN, MATCHING_PENNIES, PRISONERS_DILEMMA, STAG_HUNT, MatrixGame
from mesocosm.envs.multi_agent import JointEpisode, MultiAgentEnvironment, Transition
from mesocosm.envs.preference_grid import PreferenceGrid, PreferenceParams, PreferenceState
from mesocosm.envs.tabular import FiniteEnvironment, LayeredMDP, TabularMDP, TabularState
from mesocosm.envs.treasure_grid import TreasureGrid, TreasureParams, TreasureState, Walk
from mesocosm.envs.tree import Tree, TreeParams, TreeState

__all__ = [
    "CHICKEN",
    "MATCHING_PENNIES",
    "PRISONERS_DILEMMA",
    "STAG_HUNT",
    "Box",
    "CleanUp",
    "CleanUpState",
    "Discrete",
    "Environment",
    "Episode",
    "FiniteEnvironment",
    "GoalMaze",
    "GoalParams",
    "GoalState",
    "Interleaving",
    "InterleavingParams",
    "InterleavingState",
    "IteratedGame",
    "IteratedState",
    "JointEpisode",
    "KeyToDoor",
    "KeyToDoorParams",
    "KeyToDoorState",
    "LayeredMDP",
    "MatrixGame",
    "Maze",
    "MultiAgentEnvironment",
    "PreferenceGrid",
    "PreferenceParams",
    "PreferenceState",
    "RewardScale",
    "TabularMDP",
    "TabularState",
    "Transition",
    "TreasureGrid",
    "TreasureParams",
    "TreasureState",
    "Tree",
    "TreeParams",
    "TreeState",
    "Walk",
    "choose",
    "code_scale",
    "paper_scale",
]
