"""Training with ignite: TensorBoard, the best checkpoint and a progress bar.

Usage: ignite_engine.py lenet|cnn DATA
"""

import sys
from pathlib import Path

from common import EPOCHS, MODELS, RATE, Report
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import ModelCheckpoint, ProgressBar, TensorboardLogger, global_step_from_engine
from ignite.metrics import Accuracy, Loss, RunningAverage
from pictures import TRAINING, loaders
from torch import nn
from torch.optim import SGD


def main(work: str, data: Path) -> None:
    report = Report()
    train, val, test = loaders(data)
    model, criterion = MODELS[work](), nn.CrossEntropyLoss()
    optimizer = SGD(model.parameters(), lr=RATE[work], momentum=0.9)
    trainer = create_supervised_trainer(model, optimizer, criterion)
    evaluator, tester = (
        create_supervised_evaluator(model, metrics={"accuracy": Accuracy(), "loss": Loss(criterion)}) for _ in range(2)
    )
    trainer.add_event_handler(Events.STARTED, report.begin)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, report.step)

    RunningAverage(output_transform=lambda loss: loss).attach(trainer, "loss")
    progress = ProgressBar()
    progress.attach(trainer, metric_names=["loss"])

    def validate() -> None:
        evaluator.run(val)
        progress.log_message(f"Epoch {trainer.state.epoch}: {evaluator.state.metrics}")

    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)

    epoch = global_step_from_engine(trainer)
    best = ModelCheckpoint(
        "ignite/checkpoints",
        n_saved=1,
        require_empty=False,
        score_function=ModelCheckpoint.get_default_score_fn("loss", -1.0),
        score_name="negative_loss",
        global_step_transform=epoch,
    )
    saved = {"model": model, "optimizer": optimizer, "trainer": trainer}
    evaluator.add_event_handler(Events.COMPLETED, best, saved)

    with TensorboardLogger(log_dir="ignite/tensorboard") as board:
        board.attach_output_handler(
            trainer,
            event_name=Events.ITERATION_COMPLETED(every=100),
            tag="training",
            output_transform=lambda loss: {"batch_loss": loss},
        )
        board.attach_output_handler(
            evaluator,
            event_name=Events.COMPLETED,
            tag="validation",
            metric_names=["loss", "accuracy"],
            global_step_transform=epoch,
        )
        trainer.add_event_handler(Events.COMPLETED, report.end, EPOCHS[work] * TRAINING)
        trainer.run(train, max_epochs=EPOCHS[work])
    report.write(accuracy=tester.run(test).metrics["accuracy"])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
