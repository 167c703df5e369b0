"""Systems that this node asks for workitems: IHE AIW-I Task Managers, as settings."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from triage.addresses import DestinationAddress, DestinationKind
from triage.findings import Code


class TaskManager(BaseModel):
    """A task manager: where it is, what it takes to reach it, and which of its workitems are for us.

    In the environment it is its address; in ``firstread.toml`` it may be a table with the options below.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    address: str
    """``ups+http(s)://host:port/base``; ``/workitems`` lies below it."""
    code: str = "110004^DCM^Computer Aided Detection"
    """``value^scheme^meaning`` of the workitems that are for us; others, reading tasks among them, are not touched."""
    station: str = ""
    """Only those scheduled for the station of this code value; not set: for any."""
    poll_seconds: float = Field(default=5.0, ge=1, le=3600)
    """Pause between two searches."""
    trusted_file: Path | None = None
    """PEM file with the authorities that its certificate must come from; not set: ``dicom_tls_trusted``, else those of
    this system."""
    user: str = ""
    """For HTTP's basic authentication, with ``password_file``."""
    password_file: Path | None = None
    """File that holds the password, closed to other users."""
    token_file: Path | None = None
    """File that holds a bearer token, closed to other users."""

    @field_validator("address")
    @classmethod
    def _well_formed(cls, value: str) -> str:
        where = DestinationAddress.parse(value)
        if where.kind is not DestinationKind.UPS:
            raise ValueError(f"task manager {where} is not of the form ups+http(s)://host:port/base")
        return str(where)

    @field_validator("code")
    @classmethod
    def _coded(cls, value: str) -> str:
        parts = [part.strip() for part in value.split("^")]
        if len(parts) != 3 or not all(parts):
            raise ValueError(
                "code is not of the form value^scheme^meaning, such as 110004^DCM^Computer Aided Detection"
            )
        return "^".join(parts)

    @field_validator("trusted_file", "password_file", "token_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @model_validator(mode="after")
    def _one_account(self) -> Self:
        if bool(self.user) != (self.password_file is not None):
            raise ValueError(f"task manager {self.address}: user and password_file go together")
        if self.token_file is not None and self.user:
            raise ValueError(f"task manager {self.address} has token_file and user: one of them says who we are")
        return self

    @property
    def where(self) -> DestinationAddress:
        """The address, taken apart."""
        return DestinationAddress.parse(self.address)

    @property
    def concept(self) -> Code:
        """What its workitems for us ask for."""
        value, scheme, meaning = self.code.split("^")
        return Code(value=value, scheme=scheme, meaning=meaning)
