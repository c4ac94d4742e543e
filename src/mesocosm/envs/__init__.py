"""Environments, their exact tabular forms, and adapters for agents of other libraries."""

from mesocosm.envs.environment import Box, Discrete, Environment, Episode, choose
from mesocosm.envs.interleaving import Interleaving, InterleavingParams, InterleavingState
from mesocosm.envs.key_to_door import KeyToDoor, KeyToDoorParams, KeyToDoorState, RewardScale, code_scale, paper_scale
from mesocosm.envs.tabular import FiniteEnvironment, LayeredMDP, TabularMDP, TabularState
from mesocosm.envs.tree import Tree, TreeParams, TreeState

__all__ = [
    "Box",
    "Discrete",
    "Environment",
    "Episode",
    "FiniteEnvironment",
    "Interleaving",
    "InterleavingParams",
    "InterleavingState",
    "KeyToDoor",
    "KeyToDoorParams",
    "KeyToDoorState",
    "LayeredMDP",
    "RewardScale",
    "TabularMDP",
    "TabularState",
    "Tree",
    "TreeParams",
    "TreeState",
    "choose",
    "code_scale",
    "paper_scale",
]
