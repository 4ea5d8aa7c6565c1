"""What a server takes on: decisions about requests that arrive, without I/O or a clock."""
