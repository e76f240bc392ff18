"""To evaluate: samples against held-out data, by metrics with intervals, beside the floor of real data."""
