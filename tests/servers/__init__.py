"""Servers that the tests start for real, each on free ports of this machine and gone afterwards."""
