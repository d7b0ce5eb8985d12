"""A registry with one small image, for pulls that need no network."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _layer(size: int) -> bytes:
    with io.BytesIO() as output:
        with tarfile.open(fileobj=output, mode="w") as archive:
            entry = tarfile.TarInfo("noise")
            entry.size = size
            archive.addfile(entry, io.BytesIO(os.urandom(size)))
        return output.getvalue()


@contextmanager
def serving(size: int) -> Iterator[str]:
    """Serve an image with ``size`` bytes in it; yield its name."""
    tar = _layer(size)
    layer = gzip.compress(tar, 1)
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [_digest(tar)]}}
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": _digest(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(layer),
                    "digest": _digest(layer),
                }
            ],
        }
    ).encode()
    found = {_digest(blob): blob for blob in (config, layer, manifest)} | {"1": manifest}

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            blob = b"{}" if self.path == "/v2/" else found.get(self.path.rsplit("/", 1)[-1])
            self.send_response(404 if blob is None else 200)
            self.send_header("Content-Length", str(len(blob or b"")))
            if "/manifests/" in self.path:
                self.send_header("Content-Type", MANIFEST)
                self.send_header("Docker-Content-Digest", _digest(blob or b""))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(blob or b"")

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}/tiny:1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
