"""Runs whose reports have no pictures: drawing them takes a fifth of a run of the toy study, and no test here looks at them."""

import pytest


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    monkeypatch.setattr("mesocosm.lab.report.vega.write_pictures", lambda drawn, folder: list(drawn))
