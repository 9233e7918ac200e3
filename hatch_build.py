"""What a built package says and holds: README without its picture, whose path leads nowhere else, and no .gitignore."""

import re
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


class ReadmeWithoutPictures(MetadataHookInterface):
    """Set the long description."""

    def update(self, metadata: dict) -> None:
        """Add ``readme`` to the metadata."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = re.sub(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n\n", "", text, flags=re.MULTILINE)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


class WithoutGitignore(BuildHookInterface):
    """Leave out of the source distribution what hatchling puts in unasked."""

    def initialize(self, version: str, build_data: dict) -> None:
        """Drop the file from those that are included by force."""
        forced = build_data["force_include"]
        build_data["force_include"] = {path: name for path, name in forced.items() if name != ".gitignore"}
