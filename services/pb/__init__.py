"""Generated from ``protos/services/pb`` by ``make protos``."""
