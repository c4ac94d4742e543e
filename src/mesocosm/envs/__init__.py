"""Environments, their exact tabular forms, and adapters for agents of other libraries."""

from mesocosm.envs.environment import Box, Discrete, Environment, Episode, choose
from mesocosm.envs.goal_maze import GoalMaze, GoalParams, GoalState, Maze
from mesocosm.envs.interleaving import Interleaving, InterleavingParams, InterleavingState
from mesocosm.envs.key_to_door import KeyToDoor, KeyToDoorParams, KeyToDoorState, RewardScale, code_scale, paper_scale
from mesocosm.envs.preference_grid import PreferenceGrid, PreferenceParams, PreferenceState
from mesocosm.envs.tabular import FiniteEnvironment, LayeredMDP, TabularMDP, TabularState
from mesocosm.envs.treasure_grid import TreasureGrid, TreasureParams, TreasureState, Walk
from mesocosm.envs.tree import Tree, TreeParams, TreeState

__all__ = [
    "Box",
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
    "KeyToDoor",
    "KeyToDoorParams",
    "KeyToDoorState",
    "LayeredMDP",
    "Maze",
    "PreferenceGrid",
    "PreferenceParams",
    "PreferenceState",
    "RewardScale",
    "TabularMDP",
    "TabularState",
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
