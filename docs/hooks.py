"""What mkdocs does with these pages besides: the picture that README shows is the one on the first page."""

from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent


def on_files(files, config):
    """Add the picture to the site's files."""
    picture = ROOT / "examples" / "example_page.png"
    files.append(File.generated(config, "example_page.png", abs_src_path=str(picture)))
    return files
