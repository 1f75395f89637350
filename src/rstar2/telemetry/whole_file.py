"""Files that are replaced at once: who reads one, at any moment, finds all of the old text or of the new."""

from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write it aside, then rename; a kill leaves the old file. OSError if there is no room or no right."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
