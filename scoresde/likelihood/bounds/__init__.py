"""Lower bounds on the log-likelihood, and where to put their draws."""
