"""What a method's contract says of it, from the generated code's descriptors."""

from __future__ import annotations

from typing import Final

from seawall.call import Method

_IDEMPOTENT: Final = (1, 2)
"""NO_SIDE_EFFECTS and IDEMPOTENT of ``google.protobuf.MethodOptions.IdempotencyLevel``."""


def method_at(
    path: str,
    *,
    request_streaming: bool,
    response_streaming: bool,
    idempotent: bool | None = None,
) -> Method:
    """The method at a path; ``idempotent`` overrides its ``idempotency_level``.

    A method whose descriptor isn't in the default pool counts as not idempotent.
    """
    bare = Method.from_path(path)
    if idempotent is None:
        idempotent = _marked(bare)
    return Method(
        path,
        bare.service,
        bare.name,
        idempotent=idempotent,
        request_streaming=request_streaming,
        response_streaming=response_streaming,
    )


def _marked(method: Method) -> bool:
    # Not at the top: protobuf's descriptors are slow to import, and whoever has a generated stub
    # has them.
    from google.protobuf import descriptor_pool

    try:
        service = descriptor_pool.Default().FindServiceByName(method.service)
        options = service.methods_by_name[method.name].GetOptions()
    except KeyError:
        return False
    return options.idempotency_level in _IDEMPOTENT
