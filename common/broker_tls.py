"""TLS to a broker: how the cloud and its nodes verify it."""

from __future__ import annotations

import ssl

from common.errors import ConfigError


def tls_context(authority: str = "") -> ssl.SSLContext:
    """A context that trusts ``authority`` (PEM), or the system's authorities where it is empty.

    Raises `ConfigError` for what is no certificate.
    """
    try:
        context = ssl.create_default_context(cadata=authority or None)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"the certificate authority of the broker is not readable (PEM): {error}"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
