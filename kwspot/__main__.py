"""`python -m kwspot`, and the console script: a signal ends it with one line even while it still imports."""

import atexit
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT


def end_at_once(number: int, _frame: FrameType | None) -> NoReturn:
    """End on a signal where there is nothing to clean up: at the start, and when all is done."""
    os.write(sys.stderr.fileno(), b"error: interrupted\n" if number == signal.SIGINT else b"error: terminated\n")
    os._exit(128 + number)


def settle(codes: list[object]) -> None:
    """Keep the exit code, as the last that is done: the interpreter takes itself down without hearing of signals.

    Of a program that was interrupted it may remember the signal, though it was seen to, and end by it: not that one.
    """
    if INTERRUPTED in codes:
        os._exit(INTERRUPTED)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def main() -> None:
    """Run the command line."""
    codes: list[object] = []
    atexit.register(settle, codes)  # the first, and so the last to run
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and `&` want it
            signal.signal(number, end_at_once)
    from kwspot.cli import main as run

    try:
        run()
    except SystemExit as ended:
        codes.append(ended.code)
        raise
    except KeyboardInterrupt:  # as the command line was about to see to it
        end_at_once(signal.SIGINT, None)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, end_at_once)


if __name__ == "__main__":
    main()
