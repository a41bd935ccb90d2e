"""Which certificates providers are checked against: the system's, or those of SSL_CERT_FILE and SSL_CERT_DIR."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path


class InvalidCertificates(ValueError):
    """A variable names certificates that cannot be used; the message names the variable and what to do."""


def default_tls() -> ssl.SSLContext:
    """Return TLS settings for connections to providers. OpenSSL reads the two variables itself."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def check_certificates(environ: Mapping[str, str]) -> None:
    """Raise InvalidCertificates for certificates that OpenSSL would skip silently, and then trust no provider."""
    if file := environ.get("SSL_CERT_FILE"):
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            # An SSLError too: the file has no certificate.
            why = (
                "cannot be read"
                if error.errno and not isinstance(error, ssl.SSLError)
                else "has no certificate"
            )
            raise InvalidCertificates(
                f"SSL_CERT_FILE={file} {why}. Set it to a PEM file with the certificates to trust, or unset it."
            ) from None
    folder = environ.get("SSL_CERT_DIR")
    if folder and not any(Path(each).is_dir() for each in folder.split(":")):
        raise InvalidCertificates(
            f"SSL_CERT_DIR={folder} is not a folder. Set it to one that `openssl rehash` has prepared, or unset it."
        )
