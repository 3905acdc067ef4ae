"""The optimisation loop, fine-tuning and pre-training."""
