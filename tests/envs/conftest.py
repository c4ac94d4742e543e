"""The Python of another environment, for tests with libraries that cap what mesocosm needs."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def python_with_agents() -> str:
    """The Python that has rejax, JaxMARL and PettingZoo: MESOCOSM_AGENTS, or the environment that `make agents` fills."""
    named = os.environ.get("MESOCOSM_AGENTS", str(Path(__file__).parents[2] / ".venv-agents/bin/python"))
    if not Path(named).exists():
        pytest.skip("no environment with rejax: `make agents` makes one, or MESOCOSM_AGENTS names its Python")
    return named
