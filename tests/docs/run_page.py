"""Runs the commands of a documentation page: every fenced block whose info string is "bash test".

The blocks of a page run as one script, in order, in a fresh folder with the built binaries on PATH, so a page reads
as a session that a user could type. What the page started in the background is ended with it. Each port that a page
names (21000 to 21999) is replaced by a free one, so that pages may run beside each other.

Usage: run_page.py PAGE.md
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```bash test\n(.*?)^```", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"\b21\d{3}\b")
LIMIT_SECONDS = 800


def with_free_ports(text: str) -> str:
    sockets = {port: socket.create_server(("127.0.0.1", 0)) for port in set(PORT.findall(text))}
    free = {port: str(listener.getsockname()[1]) for port, listener in sockets.items()}
    for listener in sockets.values():
        listener.close()
    return PORT.sub(lambda match: free[match.group()], text)


def script_of(page: Path) -> str:
    blocks = BLOCK.findall(with_free_ports(page.read_text(encoding="utf-8")))
    return "set -euo pipefail\n" + "\n".join(f"set -x\n{block}\n{{ set +x; }} 2>/dev/null" for block in blocks)


def environment_of(root: Path) -> dict[str, str]:
    """Names what pages may rely on: the binaries, the tests' Python, and the real scans where they are present."""
    bin_dir = Path(os.environ.get("SYNTHVOL_BIN_DIR", root / "build/release/bin"))
    deps = Path(os.environ.get("SYNTHVOL_DEPS_DIR", root / ".deps"))
    path = os.pathsep.join([str(bin_dir), str(deps / "venv/bin"), str(deps / "bin"), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "SYNTHVOL_SOURCE": str(root), "HOME": str(Path.home())}


def run(page: Path, root: Path) -> int:
    script = script_of(page)
    if "set -x" not in script:
        print(f"{page}: no block is marked 'bash test'; expected at least one")
        return 1
    with tempfile.TemporaryDirectory(prefix="synthvol-docs-") as folder:
        process = subprocess.Popen(["bash", "-c", script], cwd=folder, env=environment_of(root), start_new_session=True,
                                   stdin=subprocess.DEVNULL)
        try:
            return process.wait(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"{page}: did not finish in {LIMIT_SECONDS} s")
            return 1
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    arguments = parser.parse_args()
    return run(arguments.page.resolve(), Path(__file__).resolve().parents[2])


if __name__ == "__main__":
    sys.exit(main())
