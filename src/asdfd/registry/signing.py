"""Signatures of version manifests: Ed25519 keys in PEM files, through `cryptography`.

A manifest holds the hash of every file, so its signature covers the whole version. The keys are files that the environment names, never parameters:
ASDFD_SIGNING_KEY is the private one (made with `openssl genpkey -algorithm ed25519`), ASDFD_VERIFYING_KEYS the public ones that are trusted, divided by `:`.

OpenSSF's model-signing was tried first: its release 1.1.1 cannot be imported with what it declares (pyOpenSSL is missing) and brings 15 packages more.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from asdfd.base.errors import InputError, RefusedError
from asdfd.storage.objects import Conflict, MissingObject, ObjectStore

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNING_KEY = "ASDFD_SIGNING_KEY"
VERIFYING_KEYS = "ASDFD_VERIFYING_KEYS"
PURPOSE = b"asdfd version manifest\n"
"""Signed before the manifest's bytes, so that a signature of ours means nothing elsewhere."""


def signature_key(name: str, version: str, manifest: bytes) -> str:
    """Key of the signature of a manifest."""
    return f"signatures/{name}/{version}/{hashlib.sha256(manifest).hexdigest()}.json"


def sign(store: ObjectStore, name: str, version: str, manifest: bytes, *, required: bool) -> None:
    """Store the signature of a manifest that is about to be written, where a key is set.

    Raises:
        InputError: a signature is required and no key is set, or the key cannot be used.
    """
    path = os.environ.get(SIGNING_KEY, "")
    if not path:
        if required:
            raise InputError(f"registry.require_signature: {SIGNING_KEY} is not set; name the file of the private key (openssl genpkey -algorithm ed25519)")
        return
    signature = _private_key(Path(path)).sign(PURPOSE + manifest)
    document = {"algorithm": "ed25519", "signature": base64.b64encode(signature).decode()}
    with contextlib.suppress(Conflict):  # of a try that was cut off after this: Ed25519 signs the same bytes the same way
        store.create(signature_key(name, version, manifest), json.dumps(document).encode())


def verify(store: ObjectStore, name: str, version: str, manifest: bytes, *, required: bool) -> None:
    """Check the signature of a manifest against the trusted keys; with none of them set, only where it is required.

    Raises:
        InputError: a signature is required and no key is set, or a key cannot be used.
        RefusedError: there is no signature, or no trusted key made it.
    """
    paths = [Path(path) for path in os.environ.get(VERIFYING_KEYS, "").split(":") if path]
    if not paths:
        if required:
            raise InputError(f"registry.require_signature: {VERIFYING_KEYS} is not set; name the files of the public keys that are trusted")
        return
    keys = [_public_key(path) for path in paths]
    try:
        content, _ = store.read(signature_key(name, version, manifest))
    except MissingObject:
        if not required:
            return
        line = f"{name}@{version}: is not signed, and registry.require_signature asks for it; it was pushed without {SIGNING_KEY}, push a new one with it"
        raise RefusedError(line) from None
    try:
        signature = base64.b64decode(json.loads(content)["signature"], validate=True)
    except (ValueError, KeyError, TypeError):
        signature = b""
    if not any(_signed_by(key, signature, PURPOSE + manifest) for key in keys):
        raise RefusedError(f"{name}@{version}: its signature was made with none of the keys in {VERIFYING_KEYS}; do not use it")


def _signed_by(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _private_key(path: Path) -> Ed25519PrivateKey:
    ed25519, serialization = _cryptography()
    try:
        key = serialization.load_pem_private_key(_content(path, SIGNING_KEY), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError(f"{SIGNING_KEY}: {path} is not an Ed25519 private key without a password in PEM; make one with openssl genpkey -algorithm ed25519")
    return cast("Ed25519PrivateKey", key)


def _public_key(path: Path) -> Ed25519PublicKey:
    ed25519, serialization = _cryptography()
    try:
        key = serialization.load_pem_public_key(_content(path, VERIFYING_KEYS))
    except ValueError:
        key = None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InputError(f"{VERIFYING_KEYS}: {path} is not an Ed25519 public key in PEM; make it with openssl pkey -in KEY -pubout")
    return cast("Ed25519PublicKey", key)


def _content(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{setting}: {path} cannot be read ({error.strerror}); name the file of a key") from None


def _cryptography() -> tuple[Any, Any]:
    """The library's modules ed25519 and serialization, imported when a key is used."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise InputError("signatures need the extra `signing`: pip install 'asdfd[signing]'") from None
    return ed25519, serialization
