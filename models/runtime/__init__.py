"""Running a bundle: small backends that turn token ids into logits, behind one protocol."""
