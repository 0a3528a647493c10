"""Images from noise: activation maximisation and feature inversion."""
