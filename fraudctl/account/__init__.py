"""What a model-risk team asks for: the card of a model, and whether the papers are as they were written."""
