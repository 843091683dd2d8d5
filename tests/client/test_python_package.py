"""The package as users install it: the wheel in a clean environment, type hints, lint."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from conftest import BUILD, PYTHON_PACKAGE, Server

SESSION = """
import sys, synthvol
with synthvol.Client(sys.argv[1]) as client:
    volumes = list(client.generate("demo", seed=3, count=2))
print([v.seed for v in volumes], volumes[0].array.shape, synthvol.__file__)
"""


def test_the_wheel_in_a_clean_environment(real_server: Server, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, PYTHON_PACKAGE],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("synthvol-*.whl")
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin/python"
    # The wheel comes from where it was built; what it depends on, from the tests' environment: no network is needed.
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    done = subprocess.run(
        [python, "-I", "-c", SESSION, real_server.address], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[3, 4] (64, 64, 64)") and str(environment) in done.stdout
    check = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True)
    assert "synthvol" not in check.stdout, f"its declared dependencies do not fit: {check.stdout}"


def test_type_hints_and_lint() -> None:
    for tool in (["mypy", "--cache-dir", str(BUILD / "mypy-client"), "src"], ["ruff", "check", "--no-cache", "."]):
        done = subprocess.run([sys.executable, "-m", *tool], cwd=PYTHON_PACKAGE, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
