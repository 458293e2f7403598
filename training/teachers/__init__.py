"""Teachers: trained here or found by `kind:place`, and the scores that they give."""
