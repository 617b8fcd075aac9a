"""Objects in a folder or on an S3 server behind one protocol: transfers that are verified, and writes that happen only if nobody was faster. It may import
`base`.
"""
