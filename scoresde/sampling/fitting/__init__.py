"""What is fitted to a model beforehand: time grids, the coefficients of solvers, and the times
of models of few steps."""
