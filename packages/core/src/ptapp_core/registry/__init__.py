"""Registered models: trained runs under names, whose versions aliases point at, in an MLflow registry."""
