"""Policies: from observations to features, and from features to actions and values."""
