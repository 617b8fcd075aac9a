"""asdfd: data-free distillation of fine-tuned text classifiers (AS-DFD, arXiv 2010.04883, reconstructed and taken further)."""

__version__ = "0.1.0"
