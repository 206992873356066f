"""How a run that has started processes is ended: for bench/ and chaos/."""

import signal


def end_in_order():
    """SIGTERM, as Ctrl-C, leads through every `finally`, and a second one does not break in there."""
    def leave(*_):
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, leave)
