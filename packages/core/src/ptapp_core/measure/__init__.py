"""How good a model is: figures, pictures, and comparisons of runs."""
