"""Recurrent layers, their gates and decays."""
