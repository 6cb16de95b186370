"""Learning-rate schedulers, registered as torch has them; `interval` in their YAML says when they step."""

from torch.optim import lr_scheduler

from runner.registry import SCHEDULERS

SCHEDULERS.register("constant")(lr_scheduler.ConstantLR)
SCHEDULERS.register("cosine", supply={"T_max": "total_steps"})(lr_scheduler.CosineAnnealingLR)
