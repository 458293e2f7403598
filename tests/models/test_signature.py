from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from retort.models.bundle import read_bundle, sign_bundle, write_bundle
from retort.models.errors import DamagedFile, StartError, UntrustedBundle
from tests.fake_bundle import make_fake_bundle

OPENSSL = shutil.which("openssl")


def make_keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    """The paths of a new private and its public key."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, Path]:
    """A signed bundle's folder, and the public key."""
    folder = make_fake_bundle(tmp_path / "fake").folder
    private, public = make_keys(tmp_path)
    sign_bundle(folder, private)
    return folder, public


def test_a_signed_bundle_is_read_with_its_key_and_without(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    assert read_bundle(folder, key=public).key == public
    assert read_bundle(folder).key is None
    assert (folder / "manifest.sig").stat().st_size == 64


def test_a_changed_manifest_is_refused(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"version": "0.0.1"', '"version": "0.0.2"'))
    assert read_bundle(folder).manifest.version == "0.0.2"
    with pytest.raises(UntrustedBundle, match="no signature of this manifest"):
        read_bundle(folder, key=public)


def test_a_changed_file_is_refused(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    (folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(DamagedFile, match=r"model\.onnx"):
        read_bundle(folder, key=public)


def test_another_key_is_refused(signed: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = signed
    _, other = make_keys(tmp_path, "other")
    with pytest.raises(UntrustedBundle, match="another key"):
        read_bundle(folder, key=other)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 64])
def test_a_signature_that_is_none_is_refused(signed: tuple[Path, Path], content: bytes) -> None:
    folder, public = signed
    (folder / "manifest.sig").write_bytes(content)
    with pytest.raises(UntrustedBundle):
        read_bundle(folder, key=public)


def test_a_missing_signature_is_refused(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    (folder / "manifest.sig").unlink()
    with pytest.raises(UntrustedBundle, match="not there"):
        read_bundle(folder, key=public)


def test_a_signature_of_another_bundle_is_refused(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, public = signed
    other = make_fake_bundle(tmp_path / "other", "other")
    shutil.copy(folder / "manifest.sig", other.folder)
    with pytest.raises(UntrustedBundle):
        read_bundle(other.folder, key=public)


def test_a_bundle_that_is_written_again_has_no_signature(signed: tuple[Path, Path]) -> None:
    folder, _ = signed
    bundle = read_bundle(folder)
    again = write_bundle(
        folder,
        manifest=bundle.manifest,
        graph=bundle.graph_path,
        tokenizer=bundle.tokenizer_path,
        golden=bundle.golden,
    )
    assert not (again.folder / "manifest.sig").exists()


def test_a_damaged_bundle_is_not_signed(tmp_path: Path) -> None:
    folder = make_fake_bundle(tmp_path / "fake").folder
    private, _ = make_keys(tmp_path)
    (folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(DamagedFile):
        sign_bundle(folder, private)
    assert not (folder / "manifest.sig").exists()


def test_keys_that_are_none(signed: tuple[Path, Path], tmp_path: Path) -> None:
    folder, public = signed
    private = tmp_path / "key.pem"
    with pytest.raises(StartError, match="expected a public Ed25519 key"):
        read_bundle(folder, key=private)
    with pytest.raises(StartError, match="expected a private Ed25519 key"):
        sign_bundle(folder, public)
    with pytest.raises(StartError, match="not there"):
        read_bundle(folder, key=tmp_path / "nowhere.pem")
    rsa = generate_private_key(65537, 2048)
    (tmp_path / "rsa.pem").write_bytes(
        rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(StartError, match="expected a private Ed25519 key"):
        sign_bundle(folder, tmp_path / "rsa.pem")
    locked = BestAvailableEncryption(b"secret")
    (tmp_path / "locked.pem").write_bytes(
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
    )
    with pytest.raises(StartError, match="is encrypted"):
        sign_bundle(folder, tmp_path / "locked.pem")


def test_a_key_may_lie_behind_a_link(signed: tuple[Path, Path], tmp_path: Path) -> None:
    folder, public = signed
    (tmp_path / "link.pem").symlink_to(public)
    read_bundle(folder, key=tmp_path / "link.pem")


@pytest.mark.skipif(OPENSSL is None, reason="needs openssl")
def test_openssl_makes_the_keys_and_checks_the_signature(tmp_path: Path) -> None:
    folder = make_fake_bundle(tmp_path / "fake").folder

    def openssl(*words: str) -> bool:
        ended = subprocess.run(["openssl", *words], cwd=tmp_path, capture_output=True)
        return ended.returncode == 0

    assert openssl("genpkey", "-algorithm", "ed25519", "-out", "private.pem")
    assert openssl("pkey", "-in", "private.pem", "-pubout", "-out", "public.pem")
    sign_bundle(folder, tmp_path / "private.pem")
    read_bundle(folder, key=tmp_path / "public.pem")
    check = [
        "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin",
        "-in", str(folder / "manifest.json"), "-sigfile", str(folder / "manifest.sig"),
    ]  # fmt: skip
    assert openssl(*check)
    with (folder / "manifest.json").open("ab") as file:
        file.write(b"\n")
    assert not openssl(*check)
    # And the other way round: what it signs is a signature here.
    sign = ["pkeyutl", "-sign", "-inkey", "private.pem", "-rawin", *check[6:8]]
    assert openssl(*sign, "-out", str(folder / "manifest.sig"))
    read_bundle(folder, key=tmp_path / "public.pem")
