"""Learning-rate schedulers: those of torch.optim.lr_scheduler and some of our own.

`interval` in the YAML file states whether the scheduler steps after each step or after each epoch of the training.
"""

from torch.optim import lr_scheduler

from runner.registry import SCHEDULERS

SCHEDULERS.register("constant")(lr_scheduler.ConstantLR)
SCHEDULERS.register("cosine", supply={"T_max": "total_steps"})(lr_scheduler.CosineAnnealingLR)
SCHEDULERS.register("exponential")(lr_scheduler.ExponentialLR)
SCHEDULERS.register("one_cycle", hide=("epochs", "steps_per_epoch"))(lr_scheduler.OneCycleLR)
SCHEDULERS.register("plateau", supply={"mode": "metric_mode"})(lr_scheduler.ReduceLROnPlateau)
SCHEDULERS.register("step")(lr_scheduler.StepLR)
