"""From the words of a command line to a StudySpec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tsdiag.errors import UsageError, redact
from tsdiag.search.spec import StudySpec, find_spec, parse_spec


def requested_spec(
    study: str, data: str | None, targets: Sequence[str] | None, query: str | None
) -> StudySpec:
    """Return the study of that name, or one made for data without a study.toml.

    Raises:
        UsageError: options that do not fit together.
        ConfigError: the study cannot be used.
    """
    if data is None:
        for option, given in (("--target", targets), ("--query", query)):
            if given:
                raise UsageError(f"{option} goes with --data FILE; a study.toml has its own")
        return find_spec(study)
    if not targets:
        shown = redact(data)
        raise UsageError(f"--data {shown}: what is to be predicted? add --target COLUMN")
    return _spec_for(data, list(targets), query)


def _spec_for(data: str, targets: list[str], query: str | None) -> StudySpec:
    """Propose settings as ``tsdiag init`` does."""
    from tsdiag.config import DataConfig
    from tsdiag.data.inspect import propose
    from tsdiag.data.reading import read_table

    is_url = "://" in data
    source = {"url": data, "query": query} if is_url else {"path": str(Path(data).resolve())}
    table = read_table(DataConfig.model_validate(source))
    proposals = {
        proposal.key: proposal.value for proposal in propose(table.frame, targets[0], table.source)
    }
    proposals |= {**source, "target": targets[0] if len(targets) == 1 else targets}
    name = "query" if is_url else Path(data).stem
    return parse_spec({"study": {"name": name}, "data": proposals}, Path("study.toml"))
