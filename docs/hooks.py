"""What MkDocs does besides: the notebook's cells become the page that names it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_MARKER = re.compile(r"<!-- cells of (\S+\.ipynb) -->")
_FIGURE = re.compile(r'save\(fig, "(\w+)"\)')


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put the cells of a notebook in the place of `<!-- cells of FOLDER/NAME.ipynb -->`."""
    return _MARKER.sub(lambda m: cells(Path(config["docs_dir"]) / m[1]), markdown)


def cells(notebook: Path) -> str:
    """The cells as Markdown, each figure that a cell saves below it."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [
            f"![The figure {name}, as the cell above draws it]({notebook.parent.name}/{name}.png)"
            for name in _FIGURE.findall(source)
        ]
    return "\n\n".join(parts)
