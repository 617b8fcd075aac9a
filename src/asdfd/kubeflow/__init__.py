"""The pipeline outside of this process: compiled, submitted, scheduled and watched in a cluster, or run on this machine by Kubeflow's local runner. It may
import `base`, `steps` and `pipelines`.
"""
