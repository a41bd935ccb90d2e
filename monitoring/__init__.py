"""What SREs watch, as Python: dashboards, and the checks that hold them to the metrics' catalogue."""
