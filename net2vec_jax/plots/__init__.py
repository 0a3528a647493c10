"""Figures from arrays and results."""
