"""Settings: read once at the door, frozen, passed down.

Sources, strongest first: command line, ``FIRSTREAD_*`` environment, ``firstread.toml`` in the working directory (or the
file that ``FIRSTREAD_CONFIG`` names), defaults. Unknown names are refused, and so is every combination that would open
the node to the hospital network without saying who may use it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from triage.addresses import DestinationKind
from triage.completion import CompletionPolicy
from triage.errors import FirstreadError, SettingsError
from triage.identifiers import ae_title, is_loopback
from triage.identity_provider import IdentityProvider
from triage.order_feeds import Hl7Orders, OrderFeed, check_order_feeds
from triage.peers import CallingPeer, Destination, check_transport, opens_plain_port
from triage.people import TimeOuts
from triage.priority import Breaker, Targets
from triage.retention import Mode, RetentionPolicy
from triage.room import RoomPolicy
from triage.rules import MOST_RULES, Rule, RuleSet, check_rules
from triage.setting_rules import check_bind, check_destination, check_file, check_token, check_url
from triage.setting_texts import Networks, items_of, problem_of
from triage.states import Proof
from triage.task_managers import TaskManager
from triage.viewers import MOST_VIEWERS, ViewerLink

PREFIX: Final = "FIRSTREAD_"
OUTSIDE_SETTINGS: Final = frozenset({"FIRSTREAD_CONFIG", "FIRSTREAD_TEST_DATA"})
"""Variables of this prefix that are not settings."""


class Settings(BaseSettings):
    """Everything a site can set. Times in the unit the name says."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: Path = Path("firstread-data")
    """Directory of the archive, results, logs and, in the embedded default, the database. On a local file system:
    custody needs rename and fsync to mean what they say."""
    ae_title: str = "FIRSTREAD"
    """Our AE title, as called by senders and as calling one towards destinations."""
    bind: str = "127.0.0.1"
    """Address that the DICOM and the HTTP port listen on. Loopback asks nobody who they are while there are no
    accounts; any other address needs `calling_ae_titles` and a way to sign in (docs/sign-in.md)."""
    dicom_port: int = Field(default=11112, ge=0, le=65535)
    """Port of the DICOM listener; 0 takes a free one."""
    dicom_plain: bool | None = None
    """Open `dicom_port`, which has no TLS. Not set: yes on loopback; elsewhere only without `dicom_tls_port`, and only
    when each of `calling_ae_titles` names its network."""
    dicom_tls_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of the DICOM listener with TLS (2762 is the registered one); not set: none; 0 takes a free one. Peers must
    show a certificate. Needs the three files below."""
    dicom_tls_certificate: Path | None = None
    """PEM file with our certificate, and intermediate ones behind it; for the TLS port and towards destinations."""
    dicom_tls_key: Path | None = None
    """PEM file with its private key, without a password, closed to other users (mode 600 or 640)."""
    dicom_tls_trusted: Path | None = None
    """PEM file with the authorities that certificates of peers must come from."""
    listener_processes: int = Field(default=1, ge=1, le=64)
    """Processes that receive on the DICOM ports: more than one where one keeps a core busy and there are others."""
    http_port: int = Field(default=8080, ge=0, le=65535)
    """Port of the page and the API; 0 takes a free one."""
    destinations: Annotated[tuple[Destination, ...], NoDecode] = ()
    """Where results go: `AET@host:port` or a URL that says its kind (docs/destinations.md), several with commas, or
    tables in firstread.toml."""
    serve_fhir: bool = False
    """Make a FHIR bundle of every report, also where no destination takes one: `GET /api/v1/studies/{study_uid}/fhir`
    answers with it (docs/messages.md)."""
    task_managers: Annotated[tuple[TaskManager, ...], NoDecode] = ()
    """Whose workitems are performed here (IHE AIW-I, docs/dicomweb.md): `ups+http(s)://host/base`, several with commas,
    or tables in firstread.toml. Needs a destination that takes DICOM objects: the outputs are retrieved from there."""
    calling_ae_titles: Annotated[tuple[CallingPeer, ...], NoDecode] = ()
    """Who may send: `AET` or `AET@network`. Empty on loopback: everybody."""
    http_tokens: Annotated[tuple[str, ...], NoDecode] = ()
    """`name:token` of administrators, 24 characters at least; accounts and lesser tokens: docs/sign-in.md."""
    oidc: IdentityProvider | None = None
    """The hospital's identity provider (OpenID Connect), a table in firstread.toml; see below."""
    session_idle_minutes: float = Field(default=60.0, ge=1, le=1440)
    """A browser is signed out after this long with nothing done; what a page asks for by itself does not count."""
    session_hours: float = Field(default=12.0, ge=0.1, le=168)
    """A browser is signed out after this long in any case."""
    trusted_proxies: Networks = ("127.0.0.1", "::1")
    """Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    database_url: str = ""
    """SQLAlchemy URL; empty for SQLite in the data directory."""
    broker_url: str = ""
    """Celery broker (`redis://...`); empty for the embedded default that needs none."""
    bundles: Path | None = None
    """Directory with the site's own bundles; they rank before the shipped ones."""
    device: str = Field(default="auto", pattern="^(auto|cpu|cuda)$")
    """Where networks run: `auto` takes a GPU where one is present."""
    inference_threads: int = Field(default=0, ge=0, le=256)
    """Threads of one inference on CPU; 0 for one per core."""
    analysis_processes: int = Field(default=1, ge=1, le=64)
    """Processes that analyse in parallel; one inference already uses all cores."""
    quiet_seconds: float = Field(default=60.0, gt=0, le=3600)
    """A study is complete after this long without a new instance (all but radiographs)."""
    quiet_seconds_radiograph: float = Field(default=0.0, ge=0, le=3600)
    """The same for CR and DX, counted from the end of the sending association."""
    max_open_minutes: float = Field(default=15.0, gt=0, le=1440)
    """A study that keeps growing is reported after this long."""
    target_minutes_stat: float = Field(default=15.0, gt=0)
    """Target turnaround of STAT, arrival to read."""
    target_minutes_urgent: float = Field(default=30.0, gt=0)
    """Target turnaround of URGENT."""
    target_minutes_routine: float = Field(default=120.0, gt=0)
    """Target turnaround of ROUTINE; bounds the longest wait."""
    claim_minutes: float = Field(default=30.0, ge=0, le=1440)
    """A claim runs out when its reader gives no sign for this long (the open page of the case does); 0: never."""
    ai_stat_share: float = Field(default=0.4, gt=0, le=1)
    """Breaker: above this share of STAT by AI among the last cases, AI findings enter as URGENT."""
    time_zone: str = Field(default="", max_length=64)
    """The site's time zone, such as `Europe/Berlin`: what hours and weekdays of `rules` are meant in, and times of the
    DICOM worklist. Not set: the zone of this machine for the latter."""
    rules: Annotated[tuple[Rule, ...], NoDecode, Field(max_length=MOST_RULES)] = ()
    """Site rules, tables in firstread.toml (docs/rules.md): which cases are STAT or URGENT whatever the AI says."""
    order_feeds: Annotated[tuple[OrderFeed, ...], NoDecode] = ()
    """Modality Worklists that know how urgent an examination is (docs/orders.md): `AET@host:port`, or tables."""
    hl7_orders: Hl7Orders | None = None
    """A table: port and options for HL7 orders over MLLP (docs/orders.md). Not set: none."""
    viewers: Annotated[tuple[ViewerLink, ...], NoDecode, Field(max_length=MOST_VIEWERS)] = ()
    """Viewers that a case can be opened in, tables in firstread.toml with `name` and `url` (docs/case-view.md)."""
    ohif_folder: Path | None = None
    """Folder of the OHIF viewer (`dist` of the npm package `@ohif/app`), served below `/viewer` over our own
    `/dicom-web`. Not set: none."""
    decoder_megabytes: int = Field(default=2048, ge=256, le=65536)
    """Address space of the process that decodes compressed pixels; an image that needs more is not analysed."""
    decoder_seconds: float = Field(default=20.0, gt=0, le=30)
    """How long one image may take to decode; then its decoder is killed and the image is not analysed. Shorter than
    `stall_seconds`; the largest radiograph takes a tenth of it."""
    analyse_burned_in: bool = True
    """Analyse images whose header says that annotation is burnt into the pixels; the case is flagged either way."""
    stall_seconds: float = Field(default=45.0, ge=1, le=50)
    """A worker whose analysis makes no step for this long (a network that hangs) is ended and replaced. Shorter than
    the lease of 60 s; longer than one image, or one portion of 16 through the network, may take."""
    analysis_attempts: int = Field(default=3, ge=1, le=20)
    """Runs of one analysis before it is given up with its reason."""
    delivery_hours: float = Field(default=72.0, gt=0)
    """How long a delivery is retried before it is DEAD."""
    commitment_hours: float = Field(default=24.0, gt=0)
    """How long a destination may take to prove that it holds a result; after that the result is sent again."""
    min_free_megabytes: int = Field(default=1024, ge=0)
    """Below this much free space new instances are refused with 0xA700, so that senders keep and retry them; taken
    again with a quarter more."""
    min_free_percent: float = Field(default=1.0, ge=0, le=50)
    """The same as a part of the file system; the greater of the two counts."""
    min_free_inodes: int = Field(default=10_000, ge=0)
    """The same for inodes: each file takes one, and a file system can run out of them with space left."""
    retention: Mode = Mode.ROOM
    """When files of finished studies are removed (rows stay): `never`; `room`, the oldest while less than
    `retention_free_percent` is free; `age`, also whatever is older than `retention_days`. Nothing goes that is not
    analysed, delivered with proof and free of warnings."""
    retention_free_percent: float = Field(default=10.0, ge=0, le=90)
    """Room is short below this part of the file system, and until a fifth more is free."""
    retention_days: float = Field(default=30.0, ge=0, le=36500)
    """Age, since the last image, from which a case may go although nobody has marked it as read here."""
    retention_minimum_days: float = Field(default=7.0, ge=0, le=36500)
    """Nothing younger is removed, however short room is: late images and second looks come in the first days."""
    retention_needs_proof: Proof = Proof.READ_BACK
    """What a destination must have shown before our copy of a result may go: `COMMITTED` it took responsibility,
    `READ_BACK` it listed the object when asked, `ANSWERED` it said Success."""
    scrub_days: float = Field(default=100.0, ge=0, le=3650)
    """Every stored file is read again and compared with its digest within so many days; 0 never. Reads 64 MiB at most
    every 30 s."""
    max_associations: int = Field(default=100, ge=1, le=10000)
    """Simultaneous DICOM associations; more are rejected as transient."""
    max_matches: int = Field(default=2000, ge=1, le=100_000)
    """A query by C-FIND gets so many matches at most, the first in reading order; where there are more, it ends with
    status 0xA700."""
    max_data_set_megabytes: int = Field(default=2048, ge=1, le=1024 * 1024)
    """A longer data set is refused with 0xA700; it is read to its end, and the association goes on."""
    max_association_hours: float = Field(default=24.0, gt=0, le=8760)
    """An association is released between two messages when it is older; the sender opens another one."""
    max_association_gigabytes: float = Field(default=1024.0, gt=0)
    """The same when this much came over it."""
    max_minutes_without_store: float = Field(default=10.0, gt=0, le=1440)
    """The same when nothing was stored for this long: C-ECHO, which costs nothing, does not keep a place."""
    crash_at: str = ""
    """For the fault rig only: a point of `triage/crash_points.py` where each process kills itself."""
    log_json: bool = False
    """Logs as JSON lines instead of text."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - signature of pydantic-settings
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = Path(os.environ.get("FIRSTREAD_CONFIG", "firstread.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)

    @field_validator("destinations", "task_managers", "order_feeds", mode="before")
    @classmethod
    def _addressed(cls, value: Any) -> Any:
        return tuple({"address": item} if isinstance(item, str) else item for item in items_of(value))

    @field_validator("calling_ae_titles", mode="before")
    @classmethod
    def _calling(cls, value: Any) -> Any:
        return tuple(CallingPeer.parse(item) if isinstance(item, str) else item for item in items_of(value))

    @field_validator("http_tokens", mode="before")
    @classmethod
    def _tokens(cls, value: Any) -> Any:
        return items_of(value)

    @field_validator("rules", "viewers", mode="before")
    @classmethod
    def _rules(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("ae_title")
    @classmethod
    def _own_title(cls, value: str) -> str:
        return ae_title(value)

    @field_validator("data", "dicom_tls_certificate", "dicom_tls_key", "dicom_tls_trusted", "ohif_folder")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @model_validator(mode="after")
    def _safe(self) -> Self:
        for token in self.http_tokens:
            check_token(token)
        check_bind(self.bind, some_may_send=bool(self.calling_ae_titles))
        check_transport(
            plain=self.dicom_plain, tls_port=self.dicom_tls_port, on_loopback=self.on_loopback,
            peers=self.calling_ae_titles, destinations=self.destinations,
            tls_files=None not in (self.dicom_tls_certificate, self.dicom_tls_key, self.dicom_tls_trusted),
        )  # fmt: skip
        for destination in self.destinations:
            c_store = destination.kind is DestinationKind.C_STORE
            ports = (self.dicom_port, self.dicom_tls_port) if c_store else (self.http_port,)
            check_destination(
                destination.where, own_title=self.ae_title, own_ports=[port for port in ports if port], bind=self.bind
            )
        for manager in self.task_managers:
            check_destination(manager.where, own_title=self.ae_title, own_ports=[self.http_port], bind=self.bind)
        if self.task_managers and all(d.kind.message is not None for d in self.destinations):
            raise ValueError("task_managers needs a destination that takes DICOM objects (AET@host:port or dicomweb+…)")
        if bool(self.broker_url) and self.database_url.startswith("sqlite"):
            raise ValueError("broker_url is for several hosts and needs a PostgreSQL database_url")
        check_rules(self.rules, self.time_zone)
        files = (self.dicom_tls_certificate, self.dicom_tls_key, self.dicom_tls_trusted)
        check_order_feeds(self.order_feeds, self.hl7_orders, bind=self.bind, tls_files=files)
        check_url("database_url", self.database_url, may_lack_password=True)  # ~/.pgpass, a certificate
        check_url("broker_url", self.broker_url)
        return self

    @property
    def on_loopback(self) -> bool:
        """True when nobody outside this machine can reach us."""
        return is_loopback(self.bind)

    @property
    def plain_port(self) -> int | None:
        """`dicom_port` where it is opened."""
        opens = opens_plain_port(self.dicom_plain, on_loopback=self.on_loopback, tls_port=self.dicom_tls_port)
        return self.dicom_port if opens else None

    @property
    def embedded(self) -> bool:
        """True for the default without a broker."""
        return not self.broker_url

    @property
    def database(self) -> str:
        """SQLAlchemy URL in effect."""
        return self.database_url or f"sqlite:///{self.data / 'firstread.sqlite'}"

    @property
    def archive(self) -> Path:
        """Root of received instances."""
        return self.data / "archive"

    @property
    def results(self) -> Path:
        """Root of result objects and previews."""
        return self.data / "results"

    @property
    def site_bundles(self) -> Path:
        return self.bundles or self.data / "bundles"

    @property
    def completion(self) -> CompletionPolicy:
        return CompletionPolicy(
            quiet=self.quiet_seconds,
            quiet_radiograph=self.quiet_seconds_radiograph,
            max_open=self.max_open_minutes * 60,
        )

    @property
    def targets(self) -> Targets:
        return Targets(
            stat=self.target_minutes_stat,
            urgent=self.target_minutes_urgent,
            routine=self.target_minutes_routine,
        )

    @property
    def room_policy(self) -> RoomPolicy:
        return RoomPolicy(
            min_free_bytes=self.min_free_megabytes * 1024 * 1024,
            min_free_percent=self.min_free_percent,
            min_free_inodes=self.min_free_inodes,
        )

    @property
    def retention_policy(self) -> RetentionPolicy:
        return RetentionPolicy(
            mode=self.retention,
            days=self.retention_days,
            minimum_days=self.retention_minimum_days,
            free_percent=self.retention_free_percent,
            needs_proof=self.retention_needs_proof,
        )

    @property
    def claim_lasts(self) -> timedelta | None:
        """How long a claim lasts after its reader's last sign; None: until it is given back."""
        return timedelta(minutes=self.claim_minutes) if self.claim_minutes else None

    @property
    def session_limits(self) -> TimeOuts:
        return TimeOuts(idle=timedelta(minutes=self.session_idle_minutes), absolute=timedelta(hours=self.session_hours))

    @property
    def breaker(self) -> Breaker:
        return Breaker(limit=self.ai_stat_share)

    @property
    def site_rules(self) -> RuleSet:
        return RuleSet(rules=self.rules, time_zone=self.time_zone)

    def as_environment(self) -> dict[str, str]:
        """The settings as ``FIRSTREAD_*`` variables for a child process, equal when read back.

        Overrides whatever configuration file the child might see, because every field is written out.
        """
        environment = {}
        for name, value in self.model_dump(mode="json").items():
            if value is None:
                continue
            environment[PREFIX + name.upper()] = value if isinstance(value, str) else json.dumps(value)
        return environment


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings once, at an entry point.

    Parameters
    ----------
    overrides : mapping, optional
        Values from the command line; None values are "not given".

    Raises
    ------
    SettingsError
        Names each setting that is unknown, of the wrong type or unsafe, and where it came from.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields} | OUTSIDE_SETTINGS
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(
            f"Unknown environment variable {', '.join(unknown)}.", next_step="Correct its name or unset it."
        )
    config = os.environ.get("FIRSTREAD_CONFIG")
    if config and not Path(config).is_file():
        raise SettingsError(f"FIRSTREAD_CONFIG names {config}, which is not a file.")
    check_file(Path(config or "firstread.toml"))
    try:
        return Settings(**{k: v for k, v in (overrides or {}).items() if v is not None})
    except ValidationError as error:
        problems = "; ".join(problem_of(item) for item in error.errors(include_url=False, include_input=False))
        raise SettingsError(f"{problems}.") from None
    except (FirstreadError, ValueError) as error:
        raise SettingsError(str(error)) from None
