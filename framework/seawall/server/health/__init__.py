"""The health protocol, on the server's port and beside the event loop."""
