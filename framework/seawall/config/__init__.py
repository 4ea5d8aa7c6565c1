"""The service config: gRPC's own JSON, with seawall's fields under the one key ``"seawall"``."""

from seawall.config.document import is_path, load_service_config, parse_service_config
from seawall.config.files import text_of
from seawall.config.policies import BudgetPolicy, MethodPolicy, ServiceConfig, ThrottlePolicy

__all__ = [
    "BudgetPolicy",
    "MethodPolicy",
    "ServiceConfig",
    "ThrottlePolicy",
    "is_path",
    "load_service_config",
    "parse_service_config",
    "text_of",
]
