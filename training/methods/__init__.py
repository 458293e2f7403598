"""Distillation methods: one small file each, all over the one loop; `registry.py` names them."""
