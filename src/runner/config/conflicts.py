"""Settings that cannot be combined, whatever the device and the components are."""

from collections.abc import Iterator

from runner.config.schema import COMPILE_MODES, Config

AUTOTUNED = ("max-autotune", "max-autotune-no-cudagraphs")
REPLAYED = ("reduce-overhead", "max-autotune")  # as CUDA graphs


def conflicts(config: Config) -> Iterator[str]:
    """Yield a line for each setting that cannot be combined with another one.

    Source:
        https://docs.pytorch.org/docs/stable/notes/randomness.html for `cudnn_benchmark`.
        https://github.com/pytorch/pytorch/issues/169545 for accumulated gradients: the next batch overwrites them.
    """
    device, trainer = config.device, config.trainer
    if device.deterministic and device.cudnn_benchmark:
        yield (
            "device.cudnn_benchmark: found true with device.deterministic=true; the fastest algorithm may differ "
            "between runs; allowed with it: null, false"
        )
    if device.deterministic and trainer.compile in AUTOTUNED:
        yield (
            f"trainer.compile: found {trainer.compile!r} with device.deterministic=true; the fastest kernels may "
            f"differ between runs; {_allowed(AUTOTUNED)}"
        )
    if trainer.compile in REPLAYED and max(trainer.accumulate, trainer.shards) > 1:
        key = "accumulate" if trainer.accumulate > 1 else "shards"
        yield (
            f"trainer.compile: found {trainer.compile!r} with trainer.{key}={getattr(trainer, key)}; each batch "
            f"overwrites the gradients in the CUDA graph; {_allowed(REPLAYED)}"
        )


def _allowed(refused: tuple[str, ...]) -> str:
    return f"allowed with it: {', '.join(['false', 'true', *(mode for mode in COMPILE_MODES if mode not in refused)])}"
