"""The shared core of ptapp; import from where a thing lives, as in `from ptapp_core.fit import fit`.

Nothing is imported here, so that the command line answers without loading torch.
"""
