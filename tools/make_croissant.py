"""Writes ``croissant.json`` beside the images of each embedded task: what they are, for readers of Croissant 1.1.

    python tools/make_croissant.py

    mlcroissant.Dataset("mixer_bench/embedded/clipart/croissant.json").records("examples")

Metadata are of the task's own file and of the files themselves
(https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mixer_bench.system import files
from mixer_bench.system.paths import EMBEDDED
from mixer_bench.task.task import Task, tasks

SPECIFICATION = "http://mlcommons.org/croissant/1.1"
# Names that are Croissant's, not schema.org's: all that the specification's own context has, or readers warn.
OF_CROISSANT = (
    *("citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject", "fileProperty"),
    *("fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path"),
    *("recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
    "transform",
)
# What no task file says: where the images are from, under which terms, and by whom, as LICENSE beside them has it.
ORIGINS: dict[str, dict[str, Any]] = {
    "clipart": {
        "license": "https://creativecommons.org/licenses/publicdomain/",
        "url": "http://www.openclipart.org",
        "creator": {"@type": "sc:Organization", "name": "Open Clip Art Library"},
        "citeAs": "Open Clip Art Library, release 0.18 (http://www.openclipart.org)",
    },
    "digits": {
        "license": "https://creativecommons.org/licenses/by/4.0/",
        "url": "https://archive.ics.uci.edu/ml/datasets/Optical+Recognition+of+Handwritten+Digits",
        "creator": [{"@type": "sc:Person", "name": name} for name in ("E. Alpaydin", "C. Kaynak")],
        "citeAs": "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning Repository",
    },
}
COLUMNS = {"split": "train, val or test", "class": "of the image", "source": "which image of the source it is"}
IMAGES = {"clipart": "image/webp", "digits": "image/png"}


def main() -> None:
    """Write the file of each embedded task."""
    for name in ORIGINS:
        (EMBEDDED / name / "croissant.json").write_text(text(tasks()[name]), encoding="utf-8", newline="\n")


def text(task: Task) -> str:
    """Return the metadata of a task whose images lie in ``mixer_bench/embedded/<name>``, as JSON-LD."""
    told = {
        "@context": context(),
        "@type": "sc:Dataset",
        "name": task.name,
        "description": f"{task.description}. Licence: {task.licence}.",
        "conformsTo": SPECIFICATION,
        "version": f"{task.version}.0.0",
        **ORIGINS[task.name],
        "distribution": distribution(EMBEDDED / task.name, IMAGES[task.name]),
        "recordSet": [examples(task)],
    }
    return json.dumps(told, indent=1) + "\n"


def context() -> dict[str, Any]:
    """Return what the names of the file mean."""
    names: dict[str, Any] = {name: f"cr:{name}" for name in OF_CROISSANT}
    names |= {"conformsTo": "dct:conformsTo", "dataType": {"@id": "cr:dataType", "@type": "@vocab"}}
    names |= {name: {"@id": f"cr:{name}", "@type": "@json"} for name in ("data", "examples")}
    names["rai"] = "http://mlcommons.org/croissant/RAI/"
    spaces = {"cr": "http://mlcommons.org/croissant/", "dct": "http://purl.org/dc/terms/", "sc": "https://schema.org/"}
    return {"@language": "en", "@vocab": "https://schema.org/", **spaces, **names}


def distribution(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Return the list, the archive, and the images in it."""
    kinds = {"images.csv": "text/csv", "images.zip": "application/zip"}
    files_there = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            # With the folder's name: mlcroissant 1.1 keeps what it unpacks by that address alone.
            "contentUrl": f"../{folder.name}/{name}",
            "contentSize": f"{(folder / name).stat().st_size} B",
            "encodingFormat": encoding,
            "sha256": files.sha256(folder / name),
        }
        for name, encoding in kinds.items()
    ]
    inside = {
        "containedIn": {"@id": "images.zip"},
        "encodingFormat": kind,
        "includes": f"*/*.{kind.rpartition('/')[2]}",
    }
    return [*files_there, {"@type": "cr:FileSet", "@id": "images", "name": "images", **inside}]


def examples(task: Task) -> dict[str, Any]:
    """Return the record set: a record an image."""
    image = _field("image", "the image", "sc:ImageObject", "fileSet", "images", {"fileProperty": "content"})
    place = _field("file", "its place in the archive", "sc:Text", "fileSet", "images", {"fileProperty": "fullpath"})
    # A file of the archive and a row of the list belong together by the former's place.
    place["references"] = {"fileObject": {"@id": "images.csv"}, "extract": {"column": "file"}}
    columns = [
        _field(name, words, "sc:Text", "fileObject", "images.csv", {"column": name}) for name, words in COLUMNS.items()
    ]
    fields = [image, place, *columns]
    sizes = ", ".join(f"{size} {name}" for name, size in task.sizes or ())
    words = f"{sizes}; {task.num_classes} classes"
    return {"@type": "cr:RecordSet", "@id": "examples", "name": "examples", "description": words, "field": fields}


def _field(name: str, words: str, kind: str, of: str, file: str, extract: dict[str, str]) -> dict[str, Any]:
    told = {"@type": "cr:Field", "@id": f"examples/{name}", "name": name, "description": words, "dataType": kind}
    return {**told, "source": {of: {"@id": file}, "extract": extract}}


if __name__ == "__main__":
    main()
