"""A certificate authority for tests with TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trustme


def tls_settings(folder: Path) -> dict[str, Any]:
    """Makes certificates for servers and client in a folder, and the settings tables that use them."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    client = {
        "tls": True,
        "tls_ca_file": str(folder / "ca.pem"),
        "tls_cert_file": str(folder / "client.pem"),
        "tls_key_file": str(folder / "client.key"),
    }
    return {
        "redis": client,
        "sentinel": client,
        "stack": {"tls_cert_file": str(folder / "server.pem"), "tls_key_file": str(folder / "server.key")},
    }
