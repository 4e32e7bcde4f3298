"""What the canvas of the Label tab asks of the server: images, one after another, and verdicts on them.

The functions are called by the page outside of Gradio's queue, which answers in a few milliseconds, and anybody who
reaches the page can call them with anything. So each call names a session that was given out by `enter`, where the
person's name was found, and every value is checked.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from altub.errors import AltUBError, LabelError
from altub.labels import Queue, browse
from altub.labels.records import check_who
from altub.labels.store import LabelStore
from altub.ui.errors import without_folders
from altub.ui.label.choice import Choice, Model, count_labelled, load_model
from altub.ui.label.items import describe_item, event_json, label_json, proposal_json
from altub.ui.services import Services

__all__ = ["LabelDesk"]

MAX_SESSIONS = 2000
PAGE = 100  # images of a list that are sent at a time
EXPIRED = "The server was restarted: one moment."

Reply = dict[str, Any]


class LabelDesk:
    """The sessions of one page's visitors, and the functions behind its canvas."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._people: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def store(self) -> LabelStore:
        return self.services.labels

    def enter(self, who: str) -> str:
        """A new session for a person.

        Raises:
            LabelError: this is no name.
        """
        name, token = check_who(who), secrets.token_urlsafe(24)
        with self._lock:
            self._people[token] = name
            while len(self._people) > MAX_SESSIONS:
                self._people.popitem(last=False)
        return token

    def who(self, token: Any) -> str | None:
        """Whose session this is; None where there is no such session any more."""
        with self._lock:
            if not isinstance(token, str) or token not in self._people:
                return None
            self._people.move_to_end(token)
            return self._people[token]

    def functions(self) -> list[Callable[[dict], Reply]]:
        """What the page may call, by name."""
        return [
            self._open_to_page(name, function)
            for name, function in (
                ("next_image", self.next_image),
                ("open_image", self.open_image),
                ("list_images", self.list_images),
                ("propose", self.propose),
                ("renew", self.renew),
                ("save_label", self.save_label),
                ("undo_label", self.undo_label),
            )
        ]

    def _open_to_page(self, name: str, function: Callable[[str, dict], Reply]) -> Callable[[dict], Reply]:
        def called(request: dict) -> Reply:
            if not isinstance(request, dict):
                return {"error": "The page is of an older version: reload it."}
            who = self.who(request.get("token"))
            if who is None:
                return {"error": EXPIRED, "expired": True}
            try:
                return function(who, request)
            except AltUBError as error:
                return {"error": without_folders(error)}

        called.__name__ = name  # not `wraps`: Gradio would look at the arguments of the function inside
        return called

    # Images.

    def next_image(self, who: str, request: dict) -> Reply:
        """The next image of the queue that the page does not have, or None for "item" where none is left."""
        choice, model = self._chosen(request)
        have = set(_texts(request.get("have")))
        queue = Queue(
            self.store,
            who,
            model=model.sha256 if model else None,
            order=choice.possible_order(model),
            threshold=model.threshold.value if model else None,
            source=choice.source,
        )
        # What this person was given before a reload comes first: it is leased to them.
        showing = next((one for one in queue.open() if one.image not in have), None) or queue.next()
        if showing is None or showing.image in have:
            return {"item": None, **self._counts(choice)}
        item = describe_item(self.store, model, showing.image, who)
        item |= {"showing": showing.id, "reason": showing.reason}
        return {"item": item, **self._counts(choice)}

    def open_image(self, who: str, request: dict) -> Reply:
        """An image by its SHA-256; leased to this person where nobody else looks at it."""
        choice, model = self._chosen(request)
        image = _text(request.get("image"))
        self.store.leases.take(image, who)
        return {"item": describe_item(self.store, model, image, who), **self._counts(choice)}

    def list_images(self, who: str, request: dict) -> Reply:
        """A page of the images that the filter lets through."""
        choice, model = self._chosen(request)
        offset = request.get("offset")
        page = browse(
            self.store,
            show=choice.show,
            defect_type=choice.defect_type,
            source=choice.source,
            model=model.sha256 if model else None,
            threshold=model.threshold.value if model else None,
            order=choice.possible_order(model),
            offset=offset if isinstance(offset, int) else 0,
            limit=PAGE,
        )
        return {"list": [row.image for row in page.rows], "total": page.total, **self._counts(choice)}

    def propose(self, _who: str, request: dict) -> Reply:
        """What the model says of an image by now; None for "proposal" while it was not asked."""
        _, model = self._chosen(request)
        return {"proposal": proposal_json(self.store, model, self.store.images.get(_text(request.get("image"))))}

    def renew(self, who: str, request: dict) -> Reply:
        """Keeps the images that the page has leased."""
        return {"lost": [image for image in _texts(request.get("images")) if not self.store.leases.take(image, who)]}

    # Labels.

    def save_label(self, who: str, request: dict) -> Reply:
        """Stores a verdict; answers when it is on the disk."""
        choice, _ = self._chosen(request, load=False)
        verdict, mask = _text(request.get("verdict")), _mask(request)
        label = self.store.labels.add(
            _text(request.get("image")),
            who,
            verdict,
            defect_type=(_text(request.get("type")) or None) if verdict == "defect" else None,
            mask=mask,
            note=_text(request.get("note")),
            proposal=_number(request.get("proposal")),
            showing=_number(request.get("showing")),
        )
        return {"label": event_json(label), **self._counts(choice)}

    def undo_label(self, who: str, request: dict) -> Reply:
        """Takes the person's newest label back and returns its image, with the label that was taken back."""
        choice, model = self._chosen(request)
        label = self.store.labels.last_by(who)
        if label is None:
            raise LabelError("There is no label of yours to take back.")
        taken = label_json(self.store, label)
        self.store.labels.undo(label.event, who)
        self.store.leases.take(label.image, who)
        item = describe_item(self.store, model, label.image, who) | {"showing": label.showing}
        return {"item": item, "taken": taken, **self._counts(choice)}

    # Parts of the above.

    def _chosen(self, request: dict, *, load: bool = True) -> tuple[Choice, Model | None]:
        choice = Choice.of(request.get("view"))
        return choice, load_model(self.services.models, choice.run_id) if load else None

    def _counts(self, choice: Choice) -> Reply:
        labelled, images = count_labelled(self.store, choice.source)
        types = [{"name": name, "count": count} for name, count in self.store.labels.defect_types().items()]
        return {"labelled": labelled, "images": images, "types": types}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise LabelError("The page is of an older version: reload it.")
    return value


def _texts(value: Any) -> list[str]:
    return [_text(one) for one in value[:PAGE]] if isinstance(value, list) else []


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _mask(request: dict) -> bytes | None:
    """The PNG that the page drew: in the request or, if large, an upload.

    Raises:
        LabelError: it is neither.
    """
    if (text := _text(request.get("mask"))) != "":
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise LabelError("The mask was damaged on the way: label the image again.") from error
    if (name := _text(request.get("upload"))) != "":
        path, folder = Path(name).resolve(), Path(get_upload_folder()).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            raise LabelError("The mask did not arrive: label the image again.")
        return path.read_bytes()
    return None
