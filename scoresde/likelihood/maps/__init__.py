"""The density of samples that a few jumps make: jumps inverted one by one, and the determinants of their Jacobians."""
