"""Parameters, errors, artifacts (verified folders), locks, stops, child processes and progress: what everything stands on. Of ours it may import nothing, and
no heavy library.
"""
