"""How every model card begins: what the bundle is for, what it is not, what it looks for."""

from __future__ import annotations

from collections.abc import Iterator

from models.metadata import BundleMetadata, FindingSpec


def opening(metadata: BundleMetadata) -> list[str]:
    """Paragraphs of Markdown, from the title to the table of findings; an empty one is none."""
    return [
        f"# {metadata.name} {metadata.version}",
        f"**{metadata.disclaimer}**" if metadata.disclaimer else "",
        "## Intended use",
        metadata.intended_use,
        "## What it cannot do",
        "\n".join(f"- {limit}" for limit in metadata.limits),
        "## Findings",
        "\n".join(_table(metadata.findings)),
    ]


def _table(findings: tuple[FindingSpec, ...]) -> Iterator[str]:
    yield "| finding | code | a positive asks for | threshold |"
    yield "|---|---|---|---|"
    for f in findings:
        code = f"{f.code.value} {f.code.scheme} ({f.code.meaning})"
        yield f"| {f.key} | {code} | {f.urgency.value} | {f.threshold:.3f} |"
