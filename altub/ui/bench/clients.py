"""Clients of the page's API, each with images of its own, and whether the answers are the ones to these images."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gradio_client import Client, handle_file
from PIL import Image

from altub.data.category import GOOD
from altub.data.sample import SAMPLE_CATEGORIES, render_example
from altub.inference.detector import AnomalyDetector

__all__ = ["Answer", "Photo", "Visitors", "ask", "draw_photos"]

LONGEST_ANSWER = 300  # seconds; later is lost
FORMATS = ("png", "jpg", "webp", "tif")
SMALLEST = 120  # pixels of a side
MOST_DRAWN = 24  # images that are different in more than their size
TOLERANCE = 1e-4  # of a score, relative: another number of threads adds up in another order

Outcome = Literal["right", "wrong", "lost", "error"]


@dataclass(frozen=True)
class Photo:
    """A file and what a page must answer to it: the score, and maps of (width, height)."""

    path: Path
    score: float
    size: tuple[int, int]


@dataclass(frozen=True)
class Answer:
    """How one request ended, and after how many seconds. text: of an error."""

    outcome: Outcome
    seconds: float
    text: str = ""


def draw_photos(folder: Path, count: int, category: str, detector: AnomalyDetector) -> list[Photo]:
    """`count` images of the sample, good and defective, no two of one size, in the usual formats."""
    folder.mkdir()
    kinds = (GOOD, *SAMPLE_CATEGORIES[category])
    drawn = [render_example(category, kinds[k % len(kinds)], k).image for k in range(min(count, MOST_DRAWN))]
    photos = []
    for number in range(count):
        image = drawn[number % len(drawn)]
        size = SMALLEST + 7 * (number % 40), SMALLEST + 11 * (number // 40)
        path = folder / f"part-{number:04d}.{FORMATS[number % len(FORMATS)]}"
        image.resize(size).save(path)
        photos.append(Photo(path, detector.predict(path).score, size))
    return photos


class Visitors:
    """Clients that stay connected and send requests at the same time.

    Args:
        url: of the page.
        photos: as many for each client as there are more than clients.
        count: of clients.
        folder: where they put what they get.
    """

    def __init__(self, url: str, photos: Sequence[Photo], count: int, folder: Path) -> None:
        folder.mkdir()
        self.photos, self.count = photos, count
        with ThreadPoolExecutor(min(count, 8)) as pool:  # building one asks the page for its endpoints
            self.clients = list(pool.map(lambda number: _client(url, folder / str(number)), range(count)))

    def send(self, requests: int) -> list[Answer]:
        """Each client sends `requests` images, one after the other, all clients at once."""
        start = threading.Barrier(self.count)

        def work(number: int) -> list[Answer]:
            start.wait()
            own = self.photos[number :: self.count]
            return [ask(self.clients[number], own[turn % len(own)]) for turn in range(requests)]

        with ThreadPoolExecutor(self.count) as pool:
            return [answer for answers in pool.map(work, range(self.count)) for answer in answers]

    def close(self) -> None:
        for client in self.clients:
            client.close()


def _client(url: str, folder: Path) -> Client:
    # By itself it waits five seconds for an upload: here it is the measurement that says how long it took.
    return Client(url, verbose=False, download_files=str(folder), httpx_kwargs={"timeout": LONGEST_ANSWER})


def ask(client: Client, photo: Photo) -> Answer:
    """One request, from the start of the upload to the files of the answer."""
    began = time.perf_counter()
    try:
        result = client.submit(handle_file(photo.path), api_name="/predict").result(LONGEST_ANSWER)
    except TimeoutError:
        return Answer("lost", time.perf_counter() - began)
    except Exception as error:  # whatever it is, it is counted
        return Answer("error", time.perf_counter() - began, f"{type(error).__name__}: {error}"[:200])
    seconds = time.perf_counter() - began
    try:
        return Answer("right" if _is_right(result, photo) else "wrong", seconds)
    except Exception as error:  # an answer that cannot be read
        return Answer("error", seconds, f"{type(error).__name__}: {error}"[:200])


def _is_right(result: Any, photo: Photo) -> bool:
    """Is this what the page must answer to this photo, and to no other? Removes the files that came with it."""
    overlay, anomaly_map, score, *_ = result
    sizes = []
    for file in (overlay, anomaly_map):
        with Image.open(file) as image:
            sizes.append(image.size)
        Path(file).unlink()
    return sizes == [photo.size] * 2 and abs(score - photo.score) <= TOLERANCE * max(1.0, abs(photo.score))
