"""What watches the runs, built from the table of metrics: alert rules, a dashboard, and the list of metrics for people."""
