"""What the training loop is made of: an optimizer step, and what happens between two steps."""
