"""The only place that strings the modules together: one function per command, each returning a result object."""
