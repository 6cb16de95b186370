"""Learning-rate schedulers: those of torch, and own ones. `interval` in the YAML file says when they step."""

from torch.optim import lr_scheduler

from runner.registry import SCHEDULERS

SCHEDULERS.register("constant")(lr_scheduler.ConstantLR)
SCHEDULERS.register("cosine", supply={"T_max": "total_steps"})(lr_scheduler.CosineAnnealingLR)
SCHEDULERS.register("exponential")(lr_scheduler.ExponentialLR)
SCHEDULERS.register("one_cycle", hide=("epochs", "steps_per_epoch"))(lr_scheduler.OneCycleLR)
SCHEDULERS.register("plateau", supply={"mode": "metric_mode"})(lr_scheduler.ReduceLROnPlateau)
SCHEDULERS.register("step")(lr_scheduler.StepLR)
