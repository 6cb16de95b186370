"""What makes the program start and step faster. Without it everything works the same."""

from functools import cache

from runner.speed.dynamo import import_when_needed
from runner.speed.labels import label_when_profiled


@cache
def speed_up() -> None:
    """Change how torch works in this process, once, before it makes its first optimizer."""
    import_when_needed()
    label_when_profiled()
