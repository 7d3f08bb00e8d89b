"""Throw-away certificates by openssl: an authority, and a server's for 127.0.0.1 and localhost."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificates:
    """Paths of the files of one authority."""

    authority: Path
    certificate: Path
    key: Path


def make(folder: Path) -> Certificates:
    """Create an authority and the certificates that it signs, valid for a day."""
    if not shutil.which("openssl"):
        pytest.skip("no `openssl` here")
    folder.mkdir(parents=True)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "1",
            "-subj", "/CN=test authority")  # fmt: skip
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n", encoding="utf-8")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "1", "-extfile", "names", "-out", "server.crt")  # fmt: skip
    (folder / "server.key").chmod(0o600)
    return Certificates(folder / "ca.crt", folder / "server.crt", folder / "server.key")
