import pytest

# Before anything imports it.
pytest.register_assert_rewrite("seawall.testing.registry")
