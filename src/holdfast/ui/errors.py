"""What can go wrong with a page.

HoldfastError
└── UiError             500
    ├── PageNotFoundError   404
    ├── SignInError         401
    ├── NotAllowedError     403
    ├── FormError           400
    └── ReportError         500
"""

from __future__ import annotations

from holdfast.errors import HoldfastError


class UiError(HoldfastError):
    """A page cannot be shown."""


class PageNotFoundError(UiError):
    """There is no such page, or what it would show does not exist."""


class SignInError(UiError):
    """A key is needed, or the session is over."""


class NotAllowedError(UiError):
    """The key that opened the session is not for this, or the request came from elsewhere."""


class FormError(UiError):
    """A form that cannot be taken as it is."""


class ReportError(UiError):
    """The report cannot be written."""
