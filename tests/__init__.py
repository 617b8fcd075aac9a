"""Tests; a package so that every test file can import `tests.tiny_models`."""
