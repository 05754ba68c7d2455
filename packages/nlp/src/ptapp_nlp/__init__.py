"""Text: classification, tagging, translation and generation."""
