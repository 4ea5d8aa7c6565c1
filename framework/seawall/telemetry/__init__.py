"""What the framework tells: spans, and logs of events."""
