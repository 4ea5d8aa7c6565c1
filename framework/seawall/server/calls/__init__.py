"""What stands round every handler, admission first, and the calls that reach none."""
