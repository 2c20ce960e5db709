"""``python -m tsdiag`` is the command ``tsdiag``."""

from tsdiag.cli.main import app

if __name__ == "__main__":
    app()
