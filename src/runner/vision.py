"""torchvision, reached through this module alone: it loads also where its compiled operators cannot.

Beside a CPU-only torch build the operators' library does not load, and importing torchvision would fail with
"operator torchvision::nms does not exist". Datasets, transforms and classification models need none of them.
"""

import torch

try:
    import torchvision
except RuntimeError:
    _library = torch.library.Library("torchvision", "DEF")
    for _operator in ("nms", "qnms"):
        _library.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision"]
