"""Python and Go in one fleet."""
