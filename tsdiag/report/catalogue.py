"""The pages of the rules as a list, a page for the terminal, and docs/causes.md."""

from __future__ import annotations

import inspect
import textwrap

from tsdiag.diagnostics.rules import RULES
from tsdiag.diagnostics.rules.rule import HEADINGS, Rule
from tsdiag.errors import UsageError, suggestion
from tsdiag.report.wording import WIDTH, paragraph, plural

HEAD = """\
# Causes

Written from the rules in `tsdiag/diagnostics/rules/` by
`TSDIAG_UPDATE_SNAPSHOTS=1 pytest tests/report/test_catalogue.py`; `tsdiag causes CAUSE` prints the
same page. Each cause is found, clear, or not measured (with the reason) in every diagnosis.
"""


def catalogue_text() -> str:
    """Return all causes with the sentence that says what is bad about each."""
    width = max(len(rule.cause) for rule in RULES)
    lines = [
        textwrap.fill(
            headline(rule),
            WIDTH,
            initial_indent=f"{rule.cause:{width}}  ",
            subsequent_indent=" " * (width + 2),
        )
        for rule in RULES
    ]
    return "\n".join(
        [f"{plural(len(RULES), 'cause')}. A page of one: tsdiag causes CAUSE", "", *lines]
    )


def page_text(cause: str) -> str:
    """Return the page of one cause.

    Raises:
        UsageError: there is no such cause.
    """
    rules = {rule.cause: rule for rule in RULES}
    if cause not in rules:
        near = suggestion(cause, rules) or "; list them with: tsdiag causes"
        raise UsageError(f'unknown cause "{cause}"{near}')
    rule = rules[cause]
    parts = [cause, paragraph(headline(rule))]
    parts += [f"{name}\n{paragraph(text, '  ')}" for name, text in sections(rule).items()]
    return "\n\n".join(parts)


def document() -> str:
    """Return docs/causes.md."""
    parts = [HEAD, *(f"- [{rule.cause}](#{rule.cause}): {headline(rule)}" for rule in RULES)]
    for rule in RULES:
        parts.append(f"\n## {rule.cause}\n\n{headline(rule)}\n")
        parts += [f"**{name}.** {text}\n" for name, text in sections(rule).items()]
    return "\n".join(parts).rstrip() + "\n"


def headline(rule: Rule) -> str:
    """Return the first sentence of a page: the bad thing."""
    return _paragraphs(rule)[0]


def sections(rule: Rule) -> dict[str, str]:
    """Return the paragraphs of a page by their heading."""
    found = {}
    for text in _paragraphs(rule)[1:]:
        name, _, rest = text.partition(": ")
        if name in HEADINGS:
            found[name] = rest[:1].upper() + rest[1:]
    return found


def _paragraphs(rule: Rule) -> list[str]:
    whole = inspect.cleandoc(rule.page).split("\n\n")
    return [" ".join(text.split()) for text in whole]
