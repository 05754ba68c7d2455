"""Tensor functions and layers that more than one domain uses."""
