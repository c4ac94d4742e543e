"""A server of S3 on this machine, for tests: moto's, in a thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def bucket() -> Iterator[str]:
    """The URL of an empty bucket; the environment names the server to every S3 client, those of child processes, too."""
    from moto.server import ThreadedMotoServer  # pyright: ignore[reportMissingImports]

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with patch.dict(os.environ, settings):
            import s3fs  # pyright: ignore[reportMissingImports]

            s3fs.S3FileSystem(skip_instance_cache=True).mkdir("runs")
            yield "s3://runs"
    finally:
        server.stop()
