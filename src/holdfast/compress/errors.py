"""What keeps a version from being compressed; a candidate that fails is no error, it is reported."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class CompressError(HoldfastError):
    """There is nothing to compress, or nothing to judge candidates on."""
