"""Training: data, codec and model trainers, recipes and checkpoints."""
