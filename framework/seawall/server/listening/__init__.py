"""Where a server listens: its port, its Unix socket, and the connections that it takes."""
