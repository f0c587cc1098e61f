"""What features mean: definitions, names, words and what of the past each of them sees."""
