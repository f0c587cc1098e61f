"""What happens after training: decisions as they were taken, and whether their world is still that of training."""
