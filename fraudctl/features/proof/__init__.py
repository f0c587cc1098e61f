"""The proof that features are right: a plain reference, and an audit from the known world."""
