"""What the registry is told of a server, and of its address when that changes."""
