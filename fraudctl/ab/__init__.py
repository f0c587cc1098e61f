"""Which of two models that share the traffic costs less: checks of the split, differences, and when they are known."""
