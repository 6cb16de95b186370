"""Import torchvision. All other modules import it from here.

With a CPU-only build of torch, torchvision's compiled operators do not load, and importing it fails with "operator
torchvision::nms does not exist". Declaring the operators is enough: datasets, transforms and classification models do
not call them.
"""

import torch

try:
    import torchvision
except RuntimeError:
    _library = torch.library.Library("torchvision", "DEF")
    for _operator in ("nms", "qnms"):
        _library.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
from torchvision.transforms import v2 as transforms

__all__ = ["torchvision", "transforms"]
