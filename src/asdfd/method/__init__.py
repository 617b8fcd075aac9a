"""The method: pseudo inputs from the teacher alone (synthesis) and distillation against a self-supervised adversary. It may import `base` and
`models`.
"""
