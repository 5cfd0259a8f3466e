"""How the shipped weights are made: data, augmentation, losses, the training loop, validation."""
