"""Tokens that must be refused, made by hand and by PyJWT, for a gateway with a known secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(
    secret: str, claims: Any, header: dict[str, Any] | None = None, *, digest: Any = hashlib.sha256
) -> str:
    """Return a token that is signed as HS256, whatever its header and claims say."""
    head = {"typ": "JWT", "alg": "HS256"} if header is None else header
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{b64(json.dumps(head).encode())}.{b64(payload)}"
    return f"{signed}.{b64(hmac.new(secret.encode(), signed.encode(), digest).digest())}"


def good_claims(**claims: Any) -> dict[str, Any]:
    return {"sub": "mallory", "exp": time.time() + 100_000} | claims


def forged_tokens(secret: str) -> dict[str, str]:
    """Return forged tokens by what is wrong with each."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    good = token(secret, good_claims())
    head, payload, signature = good.split(".")
    without_exp = good_claims()
    del without_exp["exp"]
    without_sub = good_claims()
    del without_sub["sub"]
    none, other_case, null = b64(b'{"alg":"none"}'), b64(b'{"alg":"nOnE"}'), b64(b'{"alg":null}')
    return {
        "alg none": f"{none}.{payload}.",
        "alg none in other letters": f"{other_case}.{payload}.",
        "alg none with a signature": f"{none}.{payload}.{signature}",
        "alg null": f"{null}.{payload}.{signature}",
        "another secret": token("another" + secret, good_claims()),
        "no secret": token("", good_claims()),
        "signed with a public key": token(public.decode(), good_claims(), {"alg": "RS256"}),
        "HS256 with a public key": token(public.decode(), good_claims()),
        "RS256": _rs256(key, good_claims()),
        "HS512": token(secret, good_claims(), {"alg": "HS512"}, digest=hashlib.sha512),
        "HS512 in the header alone": token(secret, good_claims(), {"alg": "HS512"}),
        "no exp": token(secret, without_exp),
        "exp null": token(secret, good_claims(exp=None)),
        "exp a text": token(secret, good_claims(exp="99999999999")),
        "exp infinite": token(secret, b'{"sub":"mallory","exp":Infinity}'),
        "exp too large": token(secret, b'{"sub":"mallory","exp":1e999}'),
        "expired": token(secret, good_claims(exp=time.time() - 61)),
        "expired long ago": token(secret, good_claims(exp=-1)),
        "not valid yet": token(secret, good_claims(nbf=time.time() + 100_000)),
        "issued in the future": token(secret, good_claims(iat=time.time() + 100_000)),
        "for another service": token(secret, good_claims(aud="billing")),
        "no sub": token(secret, without_sub),
        "sub a number": token(secret, good_claims(sub=7)),
        "sub empty": token(secret, good_claims(sub="")),
        "sub with a line break": token(secret, good_claims(sub="a\nb")),
        "sub too long": token(secret, good_claims(sub="a" * 257)),
        "claims no object": token(secret, b'["sub","exp"]'),
        "claims no JSON": token(secret, b"sub=mallory"),
        "claims nested deeply": token(secret, b"[" * 2000),
        "no signature": f"{head}.{payload}.",
        "another token's signature": f"{head}.{b64(json.dumps(good_claims(sub='admin')).encode())}.{signature}",
        "signature cut": good[:-4],
        "an unknown critical extension": token(
            secret, good_claims(), {"alg": "HS256", "crit": ["x"], "x": 1}
        ),
        "b64 false": token(secret, good_claims(), {"alg": "HS256", "b64": False, "crit": ["b64"]}),
        "kid a path": token("", good_claims(), {"alg": "HS256", "kid": "../../dev/null"}),
        "a key in the header": token(
            "x", good_claims(), {"alg": "HS256", "jwk": {"kty": "oct", "k": b64(b"x")}}
        ),
        "huge": token(secret, good_claims(pad="x" * 5000)),
    }


def _rs256(key: rsa.RSAPrivateKey, claims: Any) -> str:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return jwt.encode(claims, pem, algorithm="RS256")
