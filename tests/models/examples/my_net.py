"""An architecture of one's own: a gated convolution network, named `random:my_net` or `file:PATH?arch=my_net`."""

import torch
from timm.models import generate_default_cfgs, register_model
from torch import nn

default_cfgs = generate_default_cfgs({"my_net": {"input_size": (3, 64, 64), "crop_pct": 1.0}})


class MyNet(nn.Module):
    def __init__(self, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.num_features = width
        self.stem = nn.Conv2d(3, 2 * width, kernel_size=8, stride=8)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.glu(self.stem(images), dim=1).mean(dim=(2, 3)))


@register_model
def my_net(num_classes: int = 1000, **_: object) -> nn.Module:
    return MyNet(num_classes)
