"""SSL_CERT_FILE and SSL_CERT_DIR."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.infra.upstream.certificates import InvalidCertificates, check_certificates
from tests.fakes.certificates import Identity


def test_certificates_that_can_be_used(tmp_path: Path) -> None:
    identity = Identity(tmp_path, "localhost")
    for environ in (
        {},
        {"SSL_CERT_FILE": ""},
        {"SSL_CERT_FILE": str(identity.file)},
        {"SSL_CERT_DIR": str(tmp_path)},
    ):
        check_certificates(environ)


def test_certificates_that_openssl_would_skip(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for variable, value, says in (
        ("SSL_CERT_FILE", tmp_path / "missing.pem", "cannot be read"),
        ("SSL_CERT_FILE", tmp_path, "cannot be read"),
        ("SSL_CERT_FILE", empty, "has no certificate"),
        ("SSL_CERT_DIR", empty, "is not a folder"),
    ):
        with pytest.raises(InvalidCertificates, match=f"{variable}=.* {says}"):
            check_certificates({variable: str(value)})
