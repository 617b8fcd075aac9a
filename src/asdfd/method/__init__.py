"""The method: pseudo inputs from the teacher alone (stage 1) and distillation against a self-supervised adversary (stage 2). It may import `base` and
`models`.
"""
