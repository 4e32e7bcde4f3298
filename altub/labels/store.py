"""The label store: one database and one folder of files, and what can be done with them.

<data root>/labels.db          images, proposals, label events (`ALTUB_DB` names another file)
<data root>/labels-files/      originals, masks and maps by their content
"""

from __future__ import annotations

from pathlib import Path

from altub import settings
from altub.labels.database import Database
from altub.labels.images import Images
from altub.labels.leases import Leases
from altub.labels.log import LabelLog
from altub.labels.objects import ObjectFolder
from altub.labels.proposals import Proposals

__all__ = ["LabelStore", "files_folder"]


class LabelStore:
    """Opens a label store, or makes one. Threads and processes may share it; each thread has its own connection.

    Args:
        path: the database; default `settings.labels_db()`.

    Attributes:
        images: see `Images`.
        proposals: what models say; see `Proposals`.
        labels: what people say; see `LabelLog`.
        leases: who looks at what; see `Leases`.

    Raises:
        LabelError: it is damaged, or of a newer version of AltUB.
        DiskFullError: no room.

    Example:
        >>> import io, tempfile
        >>> from PIL import Image
        >>> store = LabelStore(Path(tempfile.mkdtemp()) / "labels.db")
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 30)).save(file, "PNG")
        >>> image = store.images.add(file.getvalue(), name="part.png")
        >>> label = store.labels.add(image.sha256, "ann", "defect", defect_type="scratch")
        >>> store.labels.of(image.sha256).defect_type
        'scratch'
        >>> store.labels.undo(label.event, "ann")
        >>> store.labels.of(image.sha256) is None
        True
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path is not None else settings.labels_db()
        self.db = Database(self.path)
        self.objects = ObjectFolder(files_folder(self.path))
        self.images = Images(self.db, self.objects)
        self.proposals = Proposals(self.db, self.objects, self.images)
        self.labels = LabelLog(self.db, self.objects, self.images)
        self.leases = Leases(self.db, self.images)

    def close(self) -> None:
        """Closes this thread's connection."""
        self.db.close()


def files_folder(database: Path) -> Path:
    """The folder of files beside a database: labels-files beside labels.db."""
    return database.with_name(f"{database.stem}-files")
