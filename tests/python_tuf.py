"""A client of another hand, python-tuf's, reads a repository that neap wrote.

Usage: python_tuf.py DEPOT TARGET-PATH
Needs the package `tuf`. Follows every root from the first, and finds the target.
"""

import pathlib
import sys
import tempfile
from urllib.parse import urlparse

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig


class Directory(FetcherInterface):
    """Reads file:// addresses."""

    def _fetch(self, url):
        path = pathlib.Path(urlparse(url).path)
        if not path.is_file():
            raise DownloadHTTPError(f"no {path}", 404)
        yield path.read_bytes()


def main():
    depot, target = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    with tempfile.TemporaryDirectory() as trusted:
        updater = Updater(
            metadata_dir=trusted,
            metadata_base_url=f"file://{depot}/metadata/",
            fetcher=Directory(),
            config=UpdaterConfig(),
            bootstrap=(depot / "metadata" / "1.root.json").read_bytes(),
        )
        updater.refresh()
        found = updater.get_targetinfo(target)
        if found is None:
            sys.exit(f"no target {target}")
        blob = depot / "blobs" / found.custom["blake3"]
        with blob.open("rb") as file:
            found.verify_length_and_hashes(file)
        print(f"found {target}: {found.length} bytes, {found.custom['product']}")
        if updater.get_targetinfo(target.replace("g/", "g/x", 1)) is not None:
            sys.exit("a path of no group was found")


main()
