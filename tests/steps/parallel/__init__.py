"""Several processes for one distillation."""
