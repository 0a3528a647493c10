"""Embeddings of concepts: training, evaluation, prediction."""
