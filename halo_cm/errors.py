"""Errors meant for the user: each message says what was found, where, and how to mend it."""


class HaloCMError(Exception):
    """Base class; the command line prints its message without a traceback and exits with 1."""


class ConfigError(HaloCMError):
    """A configuration file or override cannot be used."""


class DataError(HaloCMError):
    """Input data are missing, truncated, of the wrong shape or unphysical."""


class CheckpointError(HaloCMError):
    """A saved model or training state is missing, damaged or of another version."""


class OutputError(HaloCMError):
    """A result cannot be written (disk full, path not writable)."""


class TrainingError(HaloCMError):
    """Training cannot go on, for example because the loss is not finite."""
