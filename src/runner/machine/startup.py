"""Start-up of processes that use torch."""


def speed_up() -> None:
    """Import torch and apply the optimizations in `runner.speed`, a folder that may be deleted.

    Call this where a command begins to need torch. `--help` and messages about a config do not need it.
    """
    try:
        from runner.speed import enable
    except ModuleNotFoundError:
        return
    enable()
