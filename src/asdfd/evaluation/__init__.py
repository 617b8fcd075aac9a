"""How a student is compared with its teacher: labelled texts, scores, latency, parity of an export, plots and the report. It may import `base`, `storage`,
`models` and `method`.
"""
