"""Text that people read: figures, sentences with their values, words for values, and text from data made harmless."""
