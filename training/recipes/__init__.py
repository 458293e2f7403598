"""Recipes: what a run does, as checked YAML. Nothing here needs torch."""
