"""Checks every tensor's axes while these tests run; in use the annotations cost nothing."""

from jaxtyping import install_import_hook

install_import_hook("tsdiag.models", "beartype.beartype")
