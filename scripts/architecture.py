#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Writes the picture of the crates in docs/architecture.md from `cargo metadata`.

    scripts/architecture.py           write it
    scripts/architecture.py --check   fail, and say how to mend it, where it is not current

Standard library only; needs cargo, but neither a network nor a build.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- crates: written by scripts/architecture.py -->"
END = "<!-- end of crates -->"


def packages() -> dict[str, dict]:
    """The packages of the workspace, by name."""
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--no-deps", "--offline", "--format-version", "1"]
    out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    return {p["name"]: p for p in json.loads(out)["packages"]}


def uses(package: dict) -> list[dict]:
    """What a package is built on: not what its tests and its build script use."""
    return [d for d in package["dependencies"] if d["kind"] is None]


def label(dependency: dict) -> str:
    return dependency["name"] + (" (optional)" if dependency["optional"] else "")


def levels(crates: dict[str, dict]) -> dict[str, int]:
    """0 for a crate that uses no other, else one more than the highest that it uses."""
    found: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in found:
            below = [d["name"] for d in uses(crates[name]) if d["name"] in crates]
            found[name] = 1 + max(map(level, below), default=-1)
        return found[name]

    for name in crates:
        level(name)
    return found


def picture() -> str:
    crates = packages()
    level = levels(crates)
    rows = [("level", "crate", "uses of ours", "uses from outside")]
    last = None
    for name in sorted(crates, key=lambda n: (-level[n], n)):
        own = sorted({label(d) for d in uses(crates[name]) if d["name"] in crates})
        outside = sorted({label(d) for d in uses(crates[name]) if d["name"] not in crates})
        number = "" if level[name] == last else str(level[name])
        last = level[name]
        # Long lists go on in the next line, so that the page fits a terminal.
        mine, theirs = wrap(own or ["-"], 34), wrap(outside or ["-"], 44)
        for i in range(max(len(mine), len(theirs))):
            rows.append(
                (
                    number if i == 0 else "",
                    name if i == 0 else "",
                    mine[i] if i < len(mine) else "",
                    theirs[i] if i < len(theirs) else "",
                )
            )
    widths = [max(len(r[c]) for r in rows) for c in range(3)]
    lines = ["  ".join([*(r[c].ljust(widths[c]) for c in range(3)), r[3]]).rstrip() for r in rows]
    lines.insert(1, "  ".join(["-" * w for w in widths] + ["-" * 17]))
    return "\n".join([BEGIN, "```text", *lines, "```", END])


def wrap(words: list[str], width: int) -> list[str]:
    lines = [""]
    for i, word in enumerate(words):
        piece = word + ("," if i + 1 < len(words) else "")
        if lines[-1] and len(lines[-1]) + 1 + len(piece) > width:
            lines.append(piece)
        else:
            lines[-1] = f"{lines[-1]} {piece}".strip()
    return lines


def main() -> None:
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(f"error: unknown arguments {sys.argv[1:]}; the only one is --check")
    old = PAGE.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"error: {PAGE.relative_to(ROOT)} has no lines '{BEGIN}' and '{END}' for the picture")
    new = before + picture() + after
    if new == old:
        return
    if "--check" in sys.argv:
        sys.exit(
            f"error: the picture of the crates in {PAGE.relative_to(ROOT)} is not what Cargo.toml says; "
            "run scripts/architecture.py and commit the page"
        )
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
