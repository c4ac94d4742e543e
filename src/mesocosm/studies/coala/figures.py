"""placeholder"""
FIGURES = []
