"""The table of metrics and how they leave (text, Pushgateway, a port), and the alert rules and the dashboard that are made from the table. It may import
`base`.
"""
