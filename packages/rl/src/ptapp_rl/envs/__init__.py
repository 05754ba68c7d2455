"""Environments: how they are found, stepped together, normalised, and put back where they were."""
