"""``/api/v1/admin/rules``: the site rules as loaded, and a dry run of others before they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from fastapi import APIRouter
from pydantic import Field

from triage.repositories import ruling
from triage.repositories.rule_trials import try_rules
from triage.rules import RuleSet
from worklist.context import Here
from worklist.schemas.rules import RulesOut, RuleTrialOut

router = APIRouter(prefix="/admin/rules", tags=["admin"])
EXAMPLES: Final = 200


class RulesToTry(RuleSet):
    """Rules as in `firstread.toml`, and the days whose cases they are tried on."""

    days: int = Field(default=7, ge=1, le=90)


@router.get("", summary="Site rules as loaded")
def list_rules(here: Here) -> RulesOut:
    """They come from the settings; a change there counts from the next start on."""
    rules = here.settings.site_rules
    with here.database.read() as session:
        applied = ruling.are_applied(session, rules)
    return RulesOut(rules=rules.rules, time_zone=rules.time_zone, digest=rules.digest, applied=applied)


@router.post("/test", summary="Which recent cases some rules would have moved")
def test_rules(here: Here, tried: RulesToTry) -> RuleTrialOut:
    """A dry run: each case's class without any site rule, and with these. Nothing changes."""
    with here.database.read() as session:
        trial = try_rules(
            session,
            tried,
            since=here.clock() - timedelta(days=tried.days),
            targets=here.settings.targets,
            breaker=here.settings.breaker,
            examples=EXAMPLES,
        )
    return RuleTrialOut.model_validate(trial, from_attributes=True)
