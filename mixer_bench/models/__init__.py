"""From a model's name to its card, its weights and its network."""
