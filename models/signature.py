"""Signatures: that a bundle comes from whoever has a certain private key.

`manifest.sig` is an Ed25519 signature of the bytes of `manifest.json`, which holds the hashes of
all other files. The keys are PEM files, and signature and keys are those of OpenSSL:

    openssl genpkey -algorithm ed25519 -out private.pem
    openssl pkey -in private.pem -pubout -out public.pem
    openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in manifest.json -sigfile manifest.sig

The library for it comes with the extra `sign`, and is imported when it is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retort.models.errors import BundleError, MissingFile, StartError, UntrustedBundle
from retort.models.files import KIB, SIGNATURE_BYTES, read_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE_FILE = "manifest.sig"
# A PEM file of such a key has 113 or 119 bytes; it may have a comment.
KEY_BYTES = 16 * KIB


def sign(manifest: bytes, key: Path) -> bytes:
    """The signature of a manifest with the private key at `key`.

    Raises `StartError` if there is no such key.
    """
    return _private_key(key).sign(manifest)


def check_signature(folder: Path, manifest: bytes, key: Path) -> None:
    """Check that the bundle in `folder`, with this manifest, is signed by the owner of `key`.

    `key` is the path of the public key. Raises `UntrustedBundle` if it is not, `StartError` if
    there is no such key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(_read_key(key))
    except ValueError:
        public = None
    if not isinstance(public, Ed25519PublicKey):
        raise StartError(f"{key}: expected a public Ed25519 key in PEM (BEGIN PUBLIC KEY)")
    path = folder / SIGNATURE_FILE
    try:
        public.verify(read_file(path, SIGNATURE_BYTES), manifest)
    except MissingFile:
        raise UntrustedBundle(
            path, f"not there, and only bundles signed with {key} are trusted: sign it"
        ) from None
    except InvalidSignature:
        raise UntrustedBundle(
            path,
            f"is no signature of this manifest with {key}: it was signed with another key, or the "
            "manifest was changed since",
        ) from None


def _private_key(key: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(_read_key(key), password=None)
    except TypeError:
        raise StartError(
            f"{key} is encrypted: decrypt it first, with openssl pkey -in {key}"
        ) from None
    except ValueError:
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise StartError(f"{key}: expected a private Ed25519 key in PEM (BEGIN PRIVATE KEY)")
    return private


def _read_key(key: Path) -> bytes:
    # Not as a bundle's files are read: whoever runs this may keep keys behind links.
    try:
        return read_file(key.resolve(), KEY_BYTES)
    except BundleError as error:
        raise StartError(f"key {key}: {error.problem}") from None
