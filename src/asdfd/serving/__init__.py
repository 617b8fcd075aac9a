"""The server of a registered model: which version answers, how waiting texts share a batch, what is asked and answered, and what is measured meanwhile. It may
import `base`, `storage`, `registry`, `models` and `monitoring`.
"""
