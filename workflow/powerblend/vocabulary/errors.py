"""The one error that is the user's to mend before anything runs."""


class ConfigError(ValueError):
    """A configuration that cannot be run, in sentences for its author."""
