"""The tables of docs/measurements/: what was run, what was lost."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faults.invariants import Verdict
from faults.kills import Tally
from faults.lab import Fault

ROOT = Path(__file__).parents[2]
MEASUREMENTS = ROOT / "docs" / "measurements"


@dataclass
class Row:
    """One fault and how it went."""

    fault: Fault
    verdict: Verdict | None = None
    skipped: str = ""
    error: str = ""
    seconds: float = 0.0
    notes: Sequence[str] = field(default_factory=list)

    @property
    def broken(self) -> bool:
        return bool(self.error) or (self.verdict is not None and not self.verdict.holds)

    @property
    def outcome(self) -> str:
        if self.skipped:
            return f"not run: {self.skipped}"
        return "V does not hold" if self.broken else "V holds"

    def __str__(self) -> str:
        what = f"{self.fault.id} {self.fault.what}: {self.outcome} ({self.seconds:.0f} s)"
        return "\n    ".join(filter(None, (what, "; ".join(self.notes), self.error[:900])))


def machine() -> str:
    """Processor, cores, memory, kernel."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {system}"


def commit() -> str:
    """Of this checkout, or of the copy of it that is run."""
    noted = ROOT / "COMMIT"
    if noted.exists():
        return noted.read_text().strip()[:12]
    asked = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def heading(title: str, seed: int) -> list[str]:
    now = datetime.now(UTC)
    return [
        f"# {title}",
        "",
        f"- Date: {now:%Y-%m-%d %H:%M} UTC",
        f"- Commit: `{commit()}`",
        f"- Seed: {seed}",
        f"- Machine: {machine()}",
        "",
    ]


def remembered(rows: Sequence[Row], book: Path | None, seed: int, *, full: bool) -> list[dict[str, Any]]:
    """What is known of each fault: of this run, and of earlier ones that the book has; in order of their numbers."""
    known: dict[str, dict[str, Any]] = json.loads(book.read_text()) if book is not None and book.exists() else {}
    for row in rows:
        v = row.verdict or Verdict()
        known[row.fault.id] = {
            "id": row.fault.id, "what": row.fault.what, "outcome": row.outcome, "broken": row.broken,
            "skipped": bool(row.skipped), "receipts": v.receipts, "studies": v.studies, "results": v.results,
            "lost": len(v.lost), "twice": len(v.duplicated), "settled": v.settled_after, "seconds": row.seconds,
            "notes": "; ".join(row.notes) + (f" **{row.error[:200]}**" if row.error else ""), "commit": commit(),
            "seed": seed, "full": full,
        }  # fmt: skip
    if book is not None:
        book.write_text(json.dumps(known, indent=1))
    return sorted(known.values(), key=lambda fault: int(fault["id"][1:]))


def write_faults(known: Sequence[dict[str, Any]], seed: int, *, not_injected: dict[str, str], out: Path | None) -> Path:
    """``faults-<date>.md``."""
    ran = [fault for fault in known if not fault["skipped"]]
    broken = [fault["id"] for fault in ran if fault["broken"]]
    receipts, lost, twice = (sum(fault[name] for fault in ran) for name in ("receipts", "lost", "twice"))
    lines = heading("Faults injected", seed)
    lines += [
        f"`make faults`: {len(ran)} faults run; after each, invariant set V was asked of files, rows, PACS and the",
        'senders\' receipts, and `firstread fsck --deep`. "Short" is `ARGS=--quick`: shorter times, smaller numbers.',
        "",
        f"**{receipts} receipts, {lost} lost, {twice} duplicated; faults after which V did not hold: "
        f"{', '.join(broken) or 'none'}.**",
        "",
        "| # | Fault | Receipts | Studies | Results | Lost | Twice | V | Settled | Took | Commit | What was done |",
        "|---|---|--:|--:|--:|--:|--:|---|--:|--:|---|---|",
        *map(_line, known),
        "",
        "Not injected here:",
        "",
        *(f"- {name}: {why}." for name, why in not_injected.items()),
        "",
    ]
    return written(out, "faults", lines)


def _line(fault: dict[str, Any]) -> str:
    cells = [
        fault["id"], fault["what"] + ("" if fault["full"] else " (short)"), fault["receipts"], fault["studies"],
        fault["results"], fault["lost"], fault["twice"], fault["outcome"], f"{fault['settled']:.1f} s",
        f"{fault['seconds']:.0f} s", f"`{fault['commit'][:7]}`",
        fault["notes"].replace("|", "/").replace("\n", " "),
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def write_kills(tallies: Sequence[Tally], *, out: Path | None) -> Path:
    """``kills-<date>.md``."""
    lines = heading("Random kills", tallies[0].seed)
    total = sum(tally.kills for tally in tallies)
    lost = sum(len(tally.verdict.lost) for tally in tallies)
    twice = sum(len(tally.verdict.duplicated) for tally in tallies)
    broken = sum(len(tally.verdict.broken) for tally in tallies)
    lines += [
        "`make faults ARGS=--kills N`: real processes of the product die by SIGKILL under load, at random moments",
        "or at a named crash point, and are started again at once. Three modalities repeat what was not",
        "acknowledged; one of two PACS refuses now and then; a person changes priorities.",
        "",
        f"**{total} kills, {lost} lost, {twice} duplicated, {broken} other invariants broken.**",
        "",
        "| | " + " | ".join("PostgreSQL + Redis" if tally.scaled else "SQLite" for tally in tallies) + " |",
        "|---|" + "--:|" * len(tallies),
    ]

    def line(name: str, values: Sequence[object]) -> None:
        lines.append(f"| {name} | " + " | ".join(map(str, values)) + " |")

    line("Kills", [tally.kills for tally in tallies])
    for name in sorted({name for tally in tallies for name in tally.killed}):
        line(f"– {name}", [tally.killed[name] for tally in tallies])
    line("Studies sent", [tally.sent for tally in tallies])
    line("Receipts", [tally.verdict.receipts for tally in tallies])
    line("Answers 0x0000", [tally.answers[0] for tally in tallies])
    line("Requests without an answer", [tally.answers[None] for tally in tallies])
    line("Refusals", [sum(n for s, n in tally.answers.items() if s not in (0, None)) for tally in tallies])
    line("Result objects, each in two PACS", [tally.verdict.results for tally in tallies])
    line("Lost", [len(tally.verdict.lost) for tally in tallies])
    line("Duplicated", [len(tally.verdict.duplicated) for tally in tallies])
    line("Other invariants broken", [len(tally.verdict.broken) for tally in tallies])
    line("Settled after the last kill", [f"{tally.verdict.settled_after:.1f} s" for tally in tallies])
    line("Took", [f"{tally.seconds:.0f} s" for tally in tallies])
    lines.append("")
    return written(out, "kills", lines)


def written(out: Path | None, name: str, lines: Sequence[str]) -> Path:
    folder = out or MEASUREMENTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{datetime.now(UTC):%Y-%m-%d}.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
