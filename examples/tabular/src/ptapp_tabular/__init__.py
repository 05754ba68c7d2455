"""Tables on ptapp's loop: rows of numbers and categories to classes, labels or numbers."""
