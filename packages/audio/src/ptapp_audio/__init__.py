"""Audio on ptapp's loop: features, models and the commands of `ptapp audio`."""
