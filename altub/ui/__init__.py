"""The web page: the only part of the package that imports gradio."""

from __future__ import annotations

import os
from importlib.util import find_spec

from altub.errors import INSTALL_UI, MissingExtraError
from altub.settings import wait_passively
from altub.ui.quick_import import import_gradio_quickly

if find_spec("gradio") is None:
    raise MissingExtraError(f"The web page needs Gradio, which is not installed. {INSTALL_UI}")

# Read by gradio and huggingface_hub when they are imported: nothing about users or their runs is reported anywhere.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Requests of one kind that run at the same time. Given to `Blocks.queue`, it has the whole server made once more.
os.environ.setdefault("GRADIO_DEFAULT_CONCURRENCY_LIMIT", "4")

wait_passively()
import_gradio_quickly()
