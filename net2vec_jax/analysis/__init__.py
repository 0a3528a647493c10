"""What embeddings say: filters, geometry, similarity, words, images."""
