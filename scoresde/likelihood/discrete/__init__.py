"""From densities to probabilities of levels: dequantisation, and bits per dimension."""
