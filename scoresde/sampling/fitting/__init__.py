"""What is fitted to a model beforehand: time grids and the coefficients of solvers."""
