"""Classifiers: the door for teachers, the families that are known, loading, probing and saving, ONNX, and the card of a student. It may import `base` and
`storage`.
"""
