"""Networks in Flax: those there are, and your own."""
