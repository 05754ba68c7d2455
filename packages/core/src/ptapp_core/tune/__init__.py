"""Searches for the settings that make the best model."""
