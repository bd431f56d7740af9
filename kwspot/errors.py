"""Errors a user can cause and fix: the command line shows each as one line and exits with its code.

    0 ok   1 failed, or a gate not met   2 usage or configuration   3 missing data, model or optional part
    4 integrity   130 Ctrl-C   143 SIGTERM

A message says what is wrong, where, and what to do next.
"""


class KwspotError(Exception):
    """Base of every error whose message is enough to act on; by itself, a failure."""

    exit_code = 1


class ConfigError(KwspotError):
    """The registry, a setting in it or an option is wrong."""

    exit_code = 2


class MissingError(KwspotError):
    """Data or a model that the command needs is not there."""

    exit_code = 3


class IntegrityError(KwspotError):
    """Something is there and is not what it claims to be."""

    exit_code = 4


class MissingPartError(MissingError):
    """An extra that the command needs is not installed; the message ends with the command that installs it."""

    def __init__(self, message: str, extra: str) -> None:
        super().__init__(f"{message}; run: pip install 'kwspot[{extra}]'")


class StoppedError(KwspotError):
    """A signal ended the work early, at a point from which it can resume."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
