"""The command line: a module for the verbs of each topic, and how their results are shown. It may import `base`, `storage`, `monitoring`, `registry`,
`serving`, `steps` and `kubeflow`. Nothing imports it.
"""
