"""scoresde: score-based generative modeling with stochastic differential equations."""
