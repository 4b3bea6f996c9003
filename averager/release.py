"""The next release's manifest: its files, its parent, and how it was merged."""

import importlib.metadata
from pathlib import Path

from hivetune.files import sha256_of
from hivetune.records import FileEntry, MergeReport, Parent, Release
from hivetune.releases import Located


def list_files(paths: list[Path]) -> tuple[FileEntry, ...]:
    """Names, sizes and digests of a folder's files, in name order."""
    return tuple(
        FileEntry(path=path.name, size=path.stat().st_size, sha256=sha256_of(path))
        for path in sorted(paths, key=lambda path: path.name)
    )


def next_release(parent: Located, files: tuple[FileEntry, ...], report: MergeReport) -> Release:
    """The manifest of the release after `parent`; all that is not the merge stays as it was."""
    return parent.release.model_copy(
        update={
            "number": parent.release.number + 1,
            "code_version": importlib.metadata.version("hivetune"),
            "parent": Parent(manifest_sha256=parent.sha256, repo=parent.repo, revision=parent.revision),
            "files": files,
            "merge": report,
        }
    )
