"""What a target is: the tasks, with their figures and predictions, that several domains share."""
