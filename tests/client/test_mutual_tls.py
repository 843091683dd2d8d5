"""Clients that prove who they are: mutual TLS and a bearer token against the real server, in every client."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import synthvol
from conftest import BIN, Certificates, Server, start_real_server, wait_until_serving
from synthvol.aio import AsyncClient

TOKEN = "a-token-of-the-tests"
ONCE = synthvol.RetryPolicy(max_attempts=1)


@pytest.fixture(scope="module")
def strict_server(
    model_repository: Path, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that asks for a certificate of the authority and for a token."""
    folder = tmp_path_factory.mktemp("strict")
    scopes = ["synthesize", "admin", "deliver"]
    tokens = [{"sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "tenant": "tests", "scopes": scopes}]
    (folder / "tokens.json").write_text(json.dumps({"tokens": tokens}))
    (folder / "token").write_text(TOKEN + "\n")
    certificate, key = certificates.server
    server = start_real_server(
        model_repository, folder / "log", "--tls-cert", str(certificate), "--tls-key", str(key),
        "--tls-client-ca", str(certificates.ca), "--token-file", str(folder / "tokens.json"),
    )  # fmt: skip
    try:
        token = ["--token-file", str(folder / "token")]
        wait_until_serving(server.address, *tls_flags(certificates.ca, certificates.client), *token)
        yield server
    finally:
        server.kill()


def tls_flags(ca: Path, pair: tuple[Path, Path] | None) -> list[str]:
    own = [] if pair is None else ["--tls-cert", str(pair[0]), "--tls-key", str(pair[1])]
    return ["--tls-ca", str(ca), *own]


def tls_options(ca: Path, pair: tuple[Path, Path] | None) -> synthvol.Tls:
    return synthvol.Tls(str(ca)) if pair is None else synthvol.Tls(str(ca), str(pair[0]), str(pair[1]))


def test_every_client_with_certificate_and_token(
    strict_server: Server, certificates: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    command = [BIN / "synthvol", "generate", "--server", strict_server.address, "--model", "demo", "--seed", "3",
               "--format", "npy", "--output", tmp_path / "npy", "--quiet", "--token-file", tmp_path / "token",
               *tls_flags(certificates.ca, certificates.client)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = json.loads((tmp_path / "npy/volumes.jsonl").read_text())
    tls = tls_options(certificates.ca, certificates.client)
    with synthvol.Client(strict_server.address, tls=tls, token=TOKEN) as client:
        (volume,) = client.generate("demo", 3)

    async def ask() -> synthvol.Volume:
        async with AsyncClient(strict_server.address, tls=tls, token=TOKEN) as client:
            return [volume async for volume in client.generate("demo", 3)][0]

    assert volume.sha256 == asyncio.run(ask()).sha256 == line["sha256"]


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_without_a_certificate_of_the_authority(strict_server: Server, certificates: Certificates, who: str) -> None:
    pair = certificates.stranger if who == "stranger" else None
    command = [BIN / "synthvol", "models", "--server", strict_server.address, "--retries", "0", "--timeout", "20"]
    done = subprocess.run([*command, *tls_flags(certificates.ca, pair)], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("synthvol: UNAVAILABLE"), done.stderr
    options = synthvol.ClientOptions(strict_server.address, tls_options(certificates.ca, pair), TOKEN, retry=ONCE)
    with synthvol.Client(options) as client, pytest.raises(synthvol.SynthVolError) as caught:
        client.list_models(timeout=20)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE


def test_a_server_that_the_client_does_not_trust(strict_server: Server, certificates: Certificates) -> None:
    tls = tls_options(certificates.stranger[0], certificates.client)
    with synthvol.Client(strict_server.address, tls=tls, token=TOKEN, retry=ONCE) as client:
        with pytest.raises(synthvol.SynthVolError) as caught:
            client.list_models(timeout=20)
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("token", [None, "another token"])
def test_a_certificate_without_the_token(strict_server: Server, certificates: Certificates, token: str | None) -> None:
    tls = tls_options(certificates.ca, certificates.client)
    with synthvol.Client(strict_server.address, tls=tls, token=token, retry=ONCE) as client:
        with pytest.raises(synthvol.SynthVolError) as caught:
            list(client.generate("demo", 1))
        assert caught.value.code == grpc.StatusCode.UNAUTHENTICATED
