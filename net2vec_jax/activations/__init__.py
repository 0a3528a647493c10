"""What a layer responds with, its thresholds and binary activations."""
