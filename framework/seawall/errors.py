"""What seawall raises by itself, as opposed to what a server answered.

Every call that fails raises a ``grpc.RpcError``; when the framework refused the call without a
server's answer, the error is *also* an instance of one of the ``Refused`` classes here.
"""


class SeawallError(Exception):
    """Base of every error that the framework raises by itself."""


class Refused(SeawallError):
    """The framework refused a call by itself: no server ran it."""


class NoEndpoints(Refused):
    """No instance of the service is known, or none of the known ones can be reached."""


class CircuitOpen(Refused):
    """Instances are connected, but the breaker of every one of them is open."""


class DeadlinePassed(Refused):
    """The time the caller had given was spent before the call could be sent."""


class Throttled(Refused):
    """The service refuses many calls as overload, so the client kept this one back."""


class BulkheadFull(Refused):
    """As many calls as may be are under way, and as many as may wait are waiting."""


class RateLimited(Refused):
    """This client has begun as many calls as it may for now."""


class ConfigError(SeawallError, ValueError):
    """A configuration value is wrong.

    ``path`` names the offending field, for example ``methodConfig[0].retryPolicy.maxAttempts``.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class RegistryError(SeawallError):
    """The registry refused what was asked, or its URL makes no sense: trying again won't help."""


class RegistryUnavailable(RegistryError):
    """The registry can't be reached now. It may be later."""


class ServiceError(SeawallError):
    """A service can't be started as it is written or configured."""


def in_words(error: BaseException) -> str:
    """What an error is, in a line of 300 characters at most; it may be one that can't say it."""
    try:
        words = repr(error)
    except Exception:
        words = f"{type(error).__name__}, which can't be described"
    return words if len(words) <= 300 else words[:297] + "..."
