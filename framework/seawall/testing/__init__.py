"""What tests of services that use seawall need: a clock, plans without a loop, real servers."""
