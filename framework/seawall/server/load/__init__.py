"""How much a server has to do: measured, and told to its clients."""
