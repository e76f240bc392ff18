"""To score: the likelihood of examples, kept while it is computed, its figures and pictures."""
