"""How a student is compared with its teacher: texts, scores, fidelity, latency, parity of an export, plots and the report. It may import `base`, `storage`,
`models` and `method`.
"""
