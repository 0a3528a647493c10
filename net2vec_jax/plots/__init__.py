"""Figures of arrays and results, by matplotlib; one module per kind."""
