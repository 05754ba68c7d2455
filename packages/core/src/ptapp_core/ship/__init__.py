"""A trained run becomes a folder that others deploy: an image, manifests, a model repository. Imports no torch."""
