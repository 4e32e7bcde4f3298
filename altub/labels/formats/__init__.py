"""Labels in the layouts of other tools: one file a format, each with `write`, `read` and `matches`.

    mvtec         train/good, test/<type>, ground_truth/<type>: what `altub train` and most of this field's code reads
    coco          annotations.json with run-length masks: detection and segmentation tools
    csv, jsonl    a row an image: spreadsheets and scripts
    imagefolder   metadata.jsonl: `datasets.load_dataset("imagefolder", ...)` and the Hugging Face Hub

An export is written beside its goal and appears there when it is complete. What comes back from an import equals what
was exported, masks bit for bit; a layout that has no place for something (see its module) loses that.
"""

from __future__ import annotations

from altub.labels.formats.exchange import FORMATS, export_labels, import_labels

__all__ = ["FORMATS", "export_labels", "import_labels"]
