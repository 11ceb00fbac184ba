#!/usr/bin/env python3
"""Copies what archives and packages contain besides the program into a folder, under the paths of the tree: the documents and
the files that they tell people to use. No link in them is dead.

    deploy/documents.py FOLDER

A link to a file that is not in the folder becomes the address of that file at the tag of this version. If deploy/address.sh does not
know the address of the repository, the text of the link is left.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = [
    "README.md", "CHANGELOG.md", "SECURITY.md", "docs/*.md", "docs/images/*.png", "deploy/ansible/**/*", "deploy/compose/*",
    "deploy/grafana/**/*", "deploy/kubernetes/**/*.yaml", "deploy/prometheus/*.md", "deploy/prometheus/*.yml",
]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")


def replaced(link, document, folder, address, tag):
    """A link of a document in the folder."""
    is_image, text, target = link.groups()
    path, _, anchor = target.partition("#")
    if "://" in target or target.startswith("mailto:") or not path:
        return link[0]
    # The releases of the repository are a page beside its files.
    releases = re.fullmatch(r"(?:\.\./)+(releases\b.*)", target)
    place = os.path.relpath((document.parent / path).resolve(), folder.resolve())
    if not releases and (folder / place).exists() and not place.startswith(".."):
        return link[0]
    if not address:
        return text
    page = releases[1] if releases else f"{'raw' if is_image else 'blob'}/{tag}/{place}{'#' if anchor else ''}{anchor}"
    return f"{is_image}[{text}]({address}/{page})"


def main():
    folder = pathlib.Path(sys.argv[1])
    address = subprocess.run([ROOT / "deploy/address.sh"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    tag = "v" + re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.M)[1]
    for file in sorted({file for pattern in FILES for file in ROOT.glob(pattern) if file.is_file()}):
        copy = folder / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    rules = subprocess.run([ROOT / "deploy/prometheus/released.sh"], stdout=subprocess.PIPE, check=True).stdout
    (folder / "deploy/prometheus/rules.yml").write_bytes(rules)
    for document in sorted(folder.glob("**/*.md")):
        # Code keeps its brackets.
        parts = re.split(r"(^ *```.*?^ *```$|`[^`\n]*`(?!\]))", document.read_text(encoding="utf-8"), flags=re.M | re.S)
        parts[::2] = [LINK.sub(lambda link: replaced(link, document, folder, address, tag), part) for part in parts[::2]]
        document.write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
