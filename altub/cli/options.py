"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DATA_HELP", "Data", "Json", "Model"]

DATA_HELP = "Folder of categories (as MVTec AD, BTAD or VisA have them) or of good images; or 'sample'."
Data = Annotated[str, typer.Option(help=DATA_HELP)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Model = Annotated[Path, typer.Option(help="A run's model folder, such as runs/bottle/model.")]
