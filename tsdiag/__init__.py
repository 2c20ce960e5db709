"""Search and diagnosis for time-series transformers."""

__version__ = "0.1.0"
