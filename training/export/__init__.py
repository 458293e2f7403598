"""Export: from a PyTorch student to a bundle that ranks in the same way."""
