"""Traces in OpenTelemetry's form; its packages are imported only where requests are traced."""
